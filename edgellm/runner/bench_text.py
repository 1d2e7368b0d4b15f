"""A report as text, on the board and on the host."""

from collections.abc import Iterable

from edgellm.records.metrics import Series, Summary, multiplexed, series_of, summarize
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, REFERENCE_CYCLES, Unavailable
from edgellm.records.units import COUNTER_LABELS, METRICS, STAGES, stage_metric
from edgellm.runner import cautions

HEADLINE = (
    "ttft_ns",
    "tpot_ns",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "itl_p50_ns",
    "itl_p95_ns",
    "itl_p99_ns",
    "decode_ipc",
    "peak_rss_bytes",
    "bundle_bytes",
)


def render(report: Report) -> str:
    """Return the report for people: headline, stages, what is missing, cautions.

    Values are medians over repetitions ± median absolute deviation.
    """
    machine = report.environment
    series = series_of(report)
    lines = [
        f"{report.bundle.name}  {report.bundle.digest[:12]}  {report.started_utc}",
        f"{machine.name}, {report.workload.describe()}; median ± MAD",
        "",
        *aligned([METRICS[name].label, _cell(name, series[name])] for name in HEADLINE),
        "",
        *aligned(_stages(report, series)),
    ]
    if report.counters:
        lines.append("")
        lines += [f"{COUNTER_LABELS[c.name]}: {c.source}" for c in report.counters]
    lines += ["", *report.missing()] if report.unavailable else []
    lines += ["", *(f"caution: {caution.sentence}" for caution in cautions.of(report))]
    return "\n".join(lines).rstrip()


def counter_of(report: Report) -> str:
    """Return the name of the counter that a report's cycles column shows."""
    names = {info.name for info in report.counters}
    return REFERENCE_CYCLES if REFERENCE_CYCLES in names else CYCLES


def _stages(report: Report, series: dict[str, Series | Unavailable]) -> list[list[str]]:
    shown = [counter_of(report)]
    if any(info.name == INSTRUCTIONS for info in report.counters):
        shown.append(INSTRUCTIONS)
    rows = [["stage", "per", "time", *(COUNTER_LABELS[name] for name in shown)]]
    mark = "~" if multiplexed(report) else ""
    for stage in STAGES:
        row = [stage.label, stage.per]
        for quantity in ("ns", *shown):
            name = stage_metric(stage.name, quantity)
            cell = _cell(name, series[name], brief=True)
            row.append(cell if quantity == "ns" else mark + cell)
        rows.append(row)
    return rows


def _cell(name: str, found: Series | Unavailable, *, brief: bool = False) -> str:
    if isinstance(found, Unavailable):
        return "not measured" if brief else f"not measured: {found.why}"
    return shown(name, summarize(found))


def shown(name: str, summary: Summary) -> str:
    """Return a metric's summary in its unit; one value has no spread."""
    return METRICS[name].show(summary.median, summary.mad if summary.n > 1 else None)


def aligned(rows: Iterable[list[str]]) -> list[str]:
    """Return rows of cells as lines whose columns line up."""
    table = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
