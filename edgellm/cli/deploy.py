"""``edgellm deploy``."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._board import fit_option
from edgellm.cli._common import column_names, emit, handle_errors, json_option, progress

if TYPE_CHECKING:
    from edgellm.remote.deploy import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one host, as JSON; None for what was not done."""

    host: str
    error: str | None
    path: str | None = None
    sent_bytes: int | None = None
    total_bytes: int | None = None
    wall_s: float | None = None
    report: str | None = None


@click.command("deploy", short_help="Bring a bundle to boards, check it there, and measure it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.option("--bench", is_flag=True, help="Measure it there, and bring the report home.")
@click.option(
    "--bench-options", metavar="TEXT", help='Options of that bench, such as "--quick --threads 4".'
)
@click.option("--context", type=int, help="Tokens that must fit in its memory, in the bench, too.")
@fit_option
@click.option("--no-selftest", is_flag=True, help="Do not replay the golden tokens there.")
@click.option("--wait", is_flag=True, help="Wait where somebody else uses the board.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Report to write, or a folder for several; BUNDLE-HOST.json where not given.",
)
@click.option("--force", is_flag=True, help="Replace a report that exists already.")
@json_option
@handle_errors
def command(
    *,
    bundle: Path,
    hosts: tuple[str, ...],
    bench: bool,
    bench_options: str | None,
    context: int | None,
    no_fit_check: bool,
    no_selftest: bool,
    wait: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Bring BUNDLE to each HOST over ssh, check it against its golden tokens, and measure it.

    A HOST is what ssh takes, such as pi@board, or a name of ~/.config/edgellm/hosts.toml. Only what
    a board lacks is copied; a copy that was cut goes on where it stopped. Nothing but Python 3.11
    needs to be there: no root, no network, and the system's Python stays as it is.

    \b
    Examples:
      edgellm deploy smol.edgellm pi@board --bench
      edgellm deploy smol.edgellm pi4 pi5 --bench --bench-options "--threads 4" -o reports
    """
    from edgellm.errors import EdgellmError
    from edgellm.records import folder
    from edgellm.remote import deploy, several
    from edgellm.remote.hosts import find
    from edgellm.remote.ssh import Connection

    found = [find(name) for name in dict.fromkeys(hosts)]
    local = deploy.read_bundle(bundle)
    options = (*shlex.split(bench_options or ""),) if bench or bench_options else None
    needs = None if no_fit_check else deploy.Needs(context)
    wanted = deploy.Wanted(needs, selftest=not no_selftest, bench=options, wait=wait)
    reports = _reports(bundle, [host.name for host in found], output)
    if options is not None:
        for path in reports.values():
            folder.claim_output(path, force=force)

    with progress() as told:

        def work(connection: Connection) -> Row:
            name = connection.host.name
            outcome = deploy.deploy(
                connection,
                local,
                wanted,
                lambda line: click.echo(f"{name}: {line}", err=True),
                lambda what, done, total: told(f"{name}: {what}", done, total),
            )
            return _row(name, outcome, reports[name], quiet=as_json)

        outcomes = several.on_all(found, work, lambda line: click.echo(line, err=True))
    failures = [outcome for outcome in outcomes if isinstance(outcome, EdgellmError)]
    for failure in failures:
        click.echo(f"edgellm: {failure}", err=True)
    if as_json:
        pairs = zip(found, outcomes, strict=True)
        rows = [o if isinstance(o, Row) else Row(host.name, str(o)) for host, o in pairs]
        emit(True, rows, "")
    sys.exit(failures[0].exit_code if failures else 0)


def _reports(bundle: Path, names: list[str], output: Path | None) -> dict[str, Path]:
    """Return where the report of each host goes."""
    if output and len(names) == 1 and not output.is_dir():
        return {names[0]: output}
    (short,) = column_names([bundle])
    return {name: (output or Path()) / f"{short}-{name}.json" for name in names}


def _row(name: str, outcome: "Outcome", report: Path, *, quiet: bool) -> Row:
    """Write the report, say what was done, and return it as a row."""
    from edgellm.records import codec

    done = outcome.deployed
    lines = [
        f"{done.sent_bytes / (1 << 20):.1f} of {done.total_bytes / (1 << 20):.1f} MiB copied, "
        f"{done.wall_s:.1f} s: {done.path}"
    ]
    lines += outcome.selftest.splitlines() if outcome.selftest else []
    if outcome.report:
        codec.write(report, outcome.report)
        lines.append(f"report: {report}")
    if not quiet:
        click.echo("\n".join(f"{name}: {line}" for line in lines))
    written = str(report) if outcome.report else None
    return Row(name, None, done.path, done.sent_bytes, done.total_bytes, done.wall_s, written)
