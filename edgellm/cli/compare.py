"""``edgellm compare``."""

from pathlib import Path

import click

from edgellm.cli._common import emit, handle_errors, json_option


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse ``5%`` or ``5`` as 0.05."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = -1
    if not 0 <= share < float("inf"):
        raise click.BadParameter(f"{value!r} is not a share such as 5%", ctx, param)
    return share


@click.command("compare", short_help="Compare reports; the first is the reference.")
@click.argument(
    "reports", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A.json B.json ..."
)
@click.option("--markdown", is_flag=True, help="Print tables for a document.")
@click.option("--allow", is_flag=True, help="Compare although conditions differ, and say so.")
@click.option(
    "--fail-slower",
    metavar="PERCENT",
    callback=_share,
    help="Exit 6 if TTFT, TPOT, prefill or decode is slower by more, such as 5%.",
)
@json_option
@handle_errors
def command(
    *,
    reports: tuple[Path, ...],
    markdown: bool,
    allow: bool,
    fail_slower: float | None,
    as_json: bool,
) -> None:
    """Compare reports of edgellm bench; the first is the reference.

    Ratios are of medians, with a bootstrap 95 % interval. A change is called faster or slower only
    if it is at least 2 %, its interval leaves out 1, and a rank test agrees. Reports of different
    workloads, or of another bundle on another machine, are refused.

    \b
    Examples:
      edgellm compare fp32.json int8.json pruned.json --markdown
      edgellm compare before.json after.json --fail-slower 5%
    """
    from edgellm.records import report
    from edgellm.report import render
    from edgellm.report.compare import Named, compare, require_no_slowdown

    named = [
        Named(name, report.read(path)) for name, path in zip(_names(reports), reports, strict=True)
    ]
    comparison = compare(named, allow=allow)
    draw = render.as_markdown if markdown else render.as_text
    emit(as_json, comparison, draw(comparison))
    if fail_slower is not None:
        require_no_slowdown(comparison, fail_slower)


def _names(paths: tuple[Path, ...]) -> list[str]:
    """Return short names for columns: file names without their endings, if they tell apart."""
    short = [path.name.removesuffix(".json").removesuffix(".report") for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
