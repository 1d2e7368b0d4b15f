"""The command ``install``: the packages that a bundle brings, unpacked for this machine."""

import argparse
import json
import platform
from pathlib import Path

from edgellm.errors import DoesNotFit, EdgellmError
from edgellm.measure.facts import board_facts
from edgellm.records import fit
from edgellm.records.manifest import BundleManifest
from edgellm.runner import imports, runtime
from edgellm.runner.members import members
from edgellm.runner.options import fit_option, json_option, progress

HELP = """Unpack the packages that the bundle brings, for this user alone.

numpy, onnxruntime and tokenizers go into a folder of edgellm's own, below EDGELLM_HOME
(~/.local/share/edgellm): no network, no root, and the system's Python stays as it is. Every later
command of the bundle takes them from there. What is installed already is only checked."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``install``."""
    fit_option(parser)
    json_option(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Check that the bundle fits, unpack its packages, and try to import them.

    Raises:
        DoesNotFit: The machine lacks something, or the bundle has no packages for it.
        BundleInvalid: The bundle is damaged.
        EdgellmError: The packages do not run on this core.
    """
    manifest = runtime.read_manifest(arguments.bundle)
    target = runtime.place(manifest)
    suiting = runtime.suiting(manifest.wheels)
    size = sum(wheel.installed_bytes for wheel in suiting)
    if not arguments.no_fit_check:
        missing = 0 if target and target.exists() else size
        fit.demand(board_facts(runtime.home()), manifest, disk_bytes=missing)
    if target is None:
        raise DoesNotFit(_nothing(arguments.bundle, manifest))
    place = runtime.install(manifest, members(arguments.bundle), progress())
    runtime.activate(arguments.bundle)
    found = imports.probe()
    for package in found:
        if package.failed:
            raise EdgellmError(
                f"{package.package} was unpacked but cannot be imported ({package.problem})"
            )
    if arguments.json:
        versions = {package.package: package.version for package in found}
        print(json.dumps({"path": str(place), "bytes": size, "versions": versions}))
    else:
        names = sorted(f"{wheel.name} {wheel.version}" for wheel in suiting)
        print(f"{', '.join(names)}: {size / 2**20:.0f} MiB in {place}")


def _nothing(bundle: Path, manifest: BundleManifest) -> str:
    here = f"Python {platform.python_version()} on {platform.machine()}"
    if not manifest.wheels:
        return (
            f"{bundle} brings no packages: make it with edgellm bundle --target ID, or install "
            "numpy, onnxruntime and tokenizers with pip in an environment of their own"
        )
    return f"{bundle} brings no packages for {here}: make it again for a target that has it"
