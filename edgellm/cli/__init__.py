"""The command line: one module per command, light to import, so that ``--help`` is instant."""

import click

from edgellm import __version__
from edgellm.cli import (
    bench,
    build,
    bundle,
    compare,
    deploy,
    doctor,
    evaluate,
    export,
    gate,
    inspect,
    prune,
    quantize,
    run,
    selftest,
    targets,
)

COMMANDS: tuple[click.Command, ...] = (
    bench.command,
    build.command,
    bundle.command,
    compare.command,
    deploy.command,
    doctor.command,
    evaluate.command,
    export.command,
    gate.command,
    inspect.command,
    prune.command,
    quantize.command,
    run.command,
    selftest.command,
    targets.command,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgellm")
def main() -> None:
    """Take a transformer from a workstation to a small board, and measure how it runs there.

    The whole road in one command, then talk to the result:

    \b
      edgellm build smollm2-135m-instruct -o smol.edgellm --scheme int8
      edgellm run smol.edgellm --prompt "What is a clock cycle?"
    """


for _command in COMMANDS:
    main.add_command(_command)
