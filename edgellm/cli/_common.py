"""What every command shares: errors to exit codes, progress, output options."""

import contextlib
import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgellm.errors import EdgellmError
from edgellm.records import codec, folder
from edgellm.records.progress import Progress
from edgellm.records.units import parse_share

F = TypeVar("F", bound=Callable[..., Any])

QUIET_SECONDS = 2.0  # work shorter than this says nothing; redirected output speaks this often


def output_option(what: str) -> Callable[[F], F]:
    """Add ``-o/--output`` (required) and ``--force``."""

    def add(function: F) -> F:
        function = click.option(
            "--force", is_flag=True, help="Replace the output where it exists already."
        )(function)
        return click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            help=f"{what} to write; it appears whole or not at all.",
        )(function)

    return add


def json_option(function: F) -> F:
    """Add ``--json``: the result as one JSON object on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."
    )(function)


def share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option's ``5%`` or ``5`` as 0.05."""
    if value is None:
        return None
    parsed = parse_share(value)
    if parsed is None:
        raise click.BadParameter(f"{value!r} is not a share such as 5%", ctx, param)
    return parsed


def column_names(paths: Sequence[Path]) -> list[str]:
    """Return short names for files: their names without endings, if they tell apart."""
    short = [re.sub(r"(\.report)?\.json$|\.edgellm$", "", path.name) for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def handle_errors(function: F) -> F:
    """Turn errors into one sentence on stderr and an exit code; the only such place."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            with folder.terminate_as_interrupt():
                return function(*args, **kwargs)
        except EdgellmError as error:
            click.echo(f"edgellm: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("edgellm: interrupted; nothing was left half-written", err=True)
            sys.exit(130)
        except BrokenPipeError:
            # Whoever read us has gone; what is still buffered must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except OSError as error:  # a file that vanished, a disk that fails: no fault of ours
            click.echo(f"edgellm: {error}", err=True)
            sys.exit(EdgellmError.exit_code)

    return wrapper  # type: ignore[return-value]  # functools.wraps keeps the signature


def emit(as_json: bool, record: Any, text: str) -> None:
    """Print ``record`` as JSON or ``text`` for people, on stdout."""
    click.echo(json.dumps(codec.to_json(record), ensure_ascii=False) if as_json else text)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Give a :data:`Progress` that draws on stderr: one line on a terminal, else some lines."""
    terminal = sys.stderr.isatty()
    started = spoke = time.monotonic()
    drawn = False

    def report(what: str, done: int, total: int) -> None:
        nonlocal spoke, drawn
        now = time.monotonic()
        if now - started < QUIET_SECONDS or now - spoke < (0.1 if terminal else QUIET_SECONDS):
            return
        spoke = now
        share = f" {100 * done // total:3d} %" if total else ""
        line = f"{what}{share}  {now - started:.0f} s"
        if terminal:
            drawn = True
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
        else:
            click.echo(line, err=True)

    try:
        yield report
    finally:
        if drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
