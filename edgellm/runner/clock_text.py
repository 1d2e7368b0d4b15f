"""The clock view: inference read as a clocked machine, in which a token is a tick."""

from edgellm.records import breakdown
from edgellm.records.breakdown import Row
from edgellm.records.metrics import Series, series_of, summarize
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, REFERENCE_CYCLES, Unavailable
from edgellm.records.stages import kind_of
from edgellm.records.units import COUNTER_LABELS, stage_metric
from edgellm.runner import checklist
from edgellm.runner.stage_text import counter_of

BAR = 30  # characters of a share of 100 %
Figures = dict[str, Series | Unavailable]


def render(report: Report, reference: Report | None = None) -> str:
    """Return the clock view.

    Args:
        report: Of a bench run.
        reference: Of another bundle on the same machine: what the first one bought is against it.
    """
    series, counter = series_of(report), counter_of(report)
    info = report.counted(counter)
    unit = COUNTER_LABELS[counter] if info else ""
    lines = [
        f"{report.bundle.name} as a clocked machine: {report.environment.name}, "
        f"{report.workload.describe()}; verdict: {checklist.verdict(report).word.upper()}",
        *([f"{unit}: {info.source}"] if info else []),
        "",
        f"the tick (one token)    {_tick(series, counter, unit)}",
        f"ticks per second        {_value(series['decode_tokens_per_s'], 1, '')}",
        f"cycles per instruction  {_cpi(series)}",
        f"joules per tick         {_value(series['joules_per_token'], 1, 'J')}",
        f"before the first tick   {_value(series['ttft_ns'], 1e6, 'ms')}, {_prompt_ticks(series)}",
        *_shares(report),
    ]
    if reference:
        lines += ["", *_bought(report, reference)]
    return "\n".join(lines)


def _value(found: Series | Unavailable, scale: float, unit: str) -> str:
    if isinstance(found, Unavailable):
        return f"not measured: {found.why}"
    return f"{summarize(found).median / scale:.4g} {unit}".rstrip()


def _tick(series: Figures, counter: str, unit: str) -> str:
    time = _value(series["decode_ns"], 1e6, "ms")
    counts = series.get(stage_metric("decode", counter))
    if counts is None or isinstance(counts, Unavailable):
        return time
    return f"{summarize(counts).median / 1e6:.4g} M {unit}, {time}"


def _cpi(series: Figures) -> str:
    ipc = series["decode_ipc"]
    if isinstance(ipc, Unavailable):
        return f"not measured: {ipc.why}"
    return f"{1 / summarize(ipc).median:.3g}"


def _prompt_ticks(series: Figures) -> str:
    prefill, tick = series["prefill_ns"], series["decode_ns"]
    if isinstance(prefill, Unavailable) or isinstance(tick, Unavailable):
        return "ticks of it not measured"
    return f"as long as {summarize(prefill).median / summarize(tick).median:.3g} ticks"


def _shares(report: Report) -> list[str]:
    view = report.views.staged
    steps = [p for p in view.phases if p.phase == "decode"] if view else []
    if not steps:
        return []
    found = breakdown.breakdown(report, steps[0], kind_of)
    total = sum(row.ns for row in found.rows)
    lines = ["", f"where a tick goes (after {steps[0].context_tokens} tokens)"]
    width = max(len(row.name) for row in found.rows)
    lines += [_bar(row, total, width) for row in found.rows]
    return lines if found.representative else [*lines, "the cut graph is not representative here"]


def _bar(row: Row, total: float, width: int) -> str:
    share = row.ns / total
    bar = "#" * round(BAR * share)
    return f"  {row.name.replace('_', ' '):{width}}  {100 * share:5.1f} %  {bar}".rstrip()


def _bought(report: Report, reference: Report) -> list[str]:
    """Say what a change of the model bought, in the counter that both have."""
    a, b = series_of(reference), series_of(report)
    lines = [f"against {reference.bundle.name} {reference.bundle.digest[:12]}"]
    for label, metric in (
        ("cycles of a tick", stage_metric("decode", CYCLES)),
        ("reference cycles of a tick", stage_metric("decode", REFERENCE_CYCLES)),
        ("instructions of a tick", stage_metric("decode", INSTRUCTIONS)),
        ("cycles of the prompt", stage_metric("prefill", CYCLES)),
        ("reference cycles of the prompt", stage_metric("prefill", REFERENCE_CYCLES)),
        ("instructions of the prompt", stage_metric("prefill", INSTRUCTIONS)),
    ):
        before, after = a[metric], b[metric]
        if isinstance(before, Unavailable) or isinstance(after, Unavailable):
            continue
        old, new = summarize(before).median / 1e6, summarize(after).median / 1e6
        change = f"{100 * (new / old - 1):+.1f} %" if old else "from none"
        lines.append(f"  {label}: {old:.4g} M -> {new:.4g} M, {change}")
    return lines if len(lines) > 1 else [*lines, "  no counter that both runs have"]
