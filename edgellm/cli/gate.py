"""``edgellm gate``."""

from pathlib import Path
from typing import Literal

import click

from edgellm.cli._common import column_names, emit, handle_errors, json_option, share


@click.command("gate", short_help="Refuse a run that is slower than its baseline.")
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW.json")
@click.option(
    "--baseline", required=True, type=click.Path(path_type=Path), help="Report to hold it against."
)
@click.option(
    "--max-slower",
    default="5%",
    show_default=True,
    metavar="PERCENT",
    callback=share,
    help="How much slower, or how many more instructions, is still accepted.",
)
@click.option(
    "--on",
    type=click.Choice(["time", "instructions"]),
    help="Judge this alone; else time where both runs are fit for it, and instructions if not.",
)
@json_option
@handle_errors
def command(
    *,
    new: Path,
    baseline: Path,
    max_slower: float,
    on: Literal["time", "instructions"] | None,
    as_json: bool,
) -> None:
    """Exit 6 if a run is slower than its baseline by more than a limit, and say why.

    Time decides where both runs are valid and of one machine. Instructions decide where it cannot,
    such as in a pipeline that counts them under emulation.

    \b
    Examples:
      edgellm gate new.json --baseline report.json --max-slower 5%
      edgellm gate new.json --baseline report.json --on instructions --max-slower 1%
    """
    from edgellm.errors import RegressionFound
    from edgellm.records import report
    from edgellm.report.compare import Named
    from edgellm.report.gate import decide

    names = column_names([new, baseline])
    decision = decide(
        Named(names[0], report.read(new)), Named(names[1], report.read(baseline)), max_slower, on
    )
    if as_json or decision.passed:
        emit(as_json, decision, decision.sentence)
    if not decision.passed:
        raise RegressionFound(decision.sentence)
