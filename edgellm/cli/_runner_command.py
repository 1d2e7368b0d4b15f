"""Commands of the board's own runner, here or on a board."""

import argparse
import sys

import click

from edgellm.cli._common import handle_errors, progress


def runner_command(name: str, short_help: str) -> click.Command:
    """Return the command ``name`` of the board's own runner, which reads and explains options."""

    @click.command(
        name,
        short_help=short_help,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @handle_errors
    def command(*, arguments: tuple[str, ...]) -> None:
        from edgellm.runner.__main__ import parser_of, run_parsed

        parser = parser_of(name)
        parser.add_argument(
            "--on",
            metavar="HOST",
            help="do it on a board over ssh, such as pi@board",
        )
        parser.add_argument(
            "--wait", action="store_true", help="with --on: wait where somebody else uses the board"
        )
        parsed = parser.parse_args(arguments)
        sys.exit(_elsewhere(name, parsed) if parsed.on else run_parsed(name, parsed))

    return command


def _elsewhere(name: str, parsed: argparse.Namespace) -> int:
    from edgellm.remote import elsewhere, hosts
    from edgellm.remote.ssh import Connection

    def say(line: str) -> None:
        click.echo(f"edgellm: {line}", err=True)

    def hear(line: str) -> None:
        click.echo(line, err=True)

    connection = Connection(hosts.find(parsed.on), say)
    with progress() as told:
        return elsewhere.run(connection, name, parsed, hear, told)
