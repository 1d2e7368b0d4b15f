"""The command ``doctor``: what this machine can measure, and what would spoil it."""

import argparse
import json

from edgellm.errors import EdgellmError
from edgellm.records import codec
from edgellm.runner import doctor_text, imports
from edgellm.runner.doctor import examine
from edgellm.runner.options import json_option

HELP = """Show what can be measured on this machine, and what would spoil it.

Counters, clocks, heat, power, memory and packages on one screen, with advice. It needs no bundle,
changes nothing, and imports onnxruntime only in a child process; it fails where that fails."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``doctor``."""
    json_option(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Examine this machine and print what was found.

    Raises:
        EdgellmError: A package that the runner needs cannot be imported.
    """
    found = examine(imports.probe())
    if arguments.json:
        print(json.dumps(codec.to_json(found)))
    else:
        print(doctor_text.render(found))
    failed = ", ".join(package.package for package in found.packages if package.failed)
    if failed:
        raise EdgellmError(f"{failed} cannot be imported here, so no bundle runs; see the advice")
