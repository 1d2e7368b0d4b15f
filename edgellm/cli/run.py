"""``edgellm run``: the board's own runner, on this machine."""

import sys

import click

from edgellm.cli._common import handle_errors

# The runner reads the options, as it does on the board, and explains them.
SETTINGS = {"ignore_unknown_options": True, "help_option_names": []}


@click.command("run", short_help="Answer a prompt with a bundle.", context_settings=SETTINGS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@handle_errors
def command(*, arguments: tuple[str, ...]) -> None:
    """Answer a prompt with a bundle; ``edgellm run --help`` lists the options.

    \b
    Examples:
      edgellm run smol.edgellm --prompt "What is a clock cycle?"
    """
    from edgellm.runner.__main__ import run_one

    sys.exit(run_one("run", arguments))
