"""``edgellm compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._common import column_names, emit, handle_errors, json_option, progress, share
from edgellm.errors import UsageError

if TYPE_CHECKING:
    from edgellm.records.report import Report


@click.command("compare", short_help="Compare reports, or run bundles; the first is the reference.")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A.json B.json ..."
)
@click.option("--run", is_flag=True, help="The arguments are bundles: bench them, taking turns.")
@click.option("--threads", type=int, help="With --run: threads of each.")
@click.option("--cpus", help="With --run: cores to stay on, such as 0-3.")
@click.option("--prompt-tokens", type=int, help="With --run: length of the prompt.")
@click.option("--output-tokens", type=int, help="With --run: tokens to produce.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="With --run: folder for the reports; new."
)
@click.option("--clock", is_flag=True, help="Read each as a clocked machine, in cycles of a tick.")
@click.option("--markdown", is_flag=True, help="Print tables for a document.")
@click.option("--allow", is_flag=True, help="Compare although conditions differ, and say so.")
@click.option(
    "--fail-slower",
    metavar="PERCENT",
    callback=share,
    help="Exit 6 if TTFT, TPOT, prefill or decode is slower by more, such as 5%.",
)
@json_option
@handle_errors
def command(
    *,
    paths: tuple[Path, ...],
    run: bool,
    save: Path | None,
    clock: bool,
    markdown: bool,
    allow: bool,
    fail_slower: float | None,
    as_json: bool,
    **passed_on: str | int | None,
) -> None:
    """Compare reports of edgellm bench, or bundles; the first is the reference.

    Ratios are of medians, with a bootstrap 95 % interval. A change is called faster or slower only
    if it is at least 2 %, its interval leaves out 1, and a rank test agrees. Reports of different
    workloads, or of another bundle on another machine, are refused.

    With --run, bundles are benched side by side, one repetition of each in turn, and the ratios are
    of those pairs: what slows the machine for a while slows both. It ends when the ratios of decode
    are known to 1 %, or after a minute.

    \b
    Examples:
      edgellm compare fp32.json int8.json pruned.json --markdown
      edgellm compare before.json after.json --fail-slower 5%
      edgellm compare int8.json pruned.json --clock
      edgellm compare --run fp32.edgellm int8.edgellm --threads 2
    """
    from edgellm.records import report
    from edgellm.report import render
    from edgellm.report.compare import Named, compare, require_no_slowdown

    given = {name: value for name, value in passed_on.items() if value is not None}
    if not run and (given or save):
        name = next(iter(given), "save").replace("_", "-")
        raise UsageError(f"--{name} is for bundles: add --run, or leave it out")
    reports = _run(paths, given, save) if run else tuple(map(report.read, paths))
    named = [Named(name, read) for name, read in zip(column_names(paths), reports, strict=True)]
    comparison = compare(named, allow=allow)
    draw = render.as_markdown if markdown else render.as_text
    emit(as_json, comparison, _clocks(reports) if clock else draw(comparison))
    if fail_slower is not None:
        require_no_slowdown(comparison, fail_slower)


def _clocks(reports: Sequence[Report]) -> str:
    """Return each report as a clocked machine, all but the first against it."""
    from edgellm.runner import clock_text

    first, *others = reports
    views = [clock_text.render(first), *(clock_text.render(other, first) for other in others)]
    return "\n\n\n".join(views)


def _run(
    bundles: tuple[Path, ...], given: dict[str, str | int], save: Path | None
) -> tuple[Report, ...]:
    """Bench bundles that take turns, and save the reports where asked."""
    from edgellm.records import codec, folder
    from edgellm.report.interleave import run_interleaved

    names = [path.name for path in bundles]
    if save:
        folder.claim_output(save, force=False)
        if len(set(names)) < len(names):
            raise UsageError(f"two bundles are named {names[0]}: rename one, to save both reports")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    with progress() as told:
        reports = run_interleaved(bundles, options, progress=told)
    if save:
        with folder.whole(save) as scratch:
            for name, report in zip(names, reports, strict=True):
                codec.write(scratch / f"{name.removesuffix('.edgellm')}.json", report)
    return reports
