"""A report as text, on the board and on the host."""

from collections.abc import Mapping, Sequence

from edgellm.measure import throttle
from edgellm.records.metrics import Series, Summary, energy_rail, multiplexed, series_of, summarize
from edgellm.records.report import Report
from edgellm.records.samples import StageSamples, Unavailable
from edgellm.records.units import COUNTER_LABELS, METRICS, STAGES, stage_metric
from edgellm.runner import checklist, profile_text, stage_text
from edgellm.runner.columns import aligned
from edgellm.runner.parity import headline as parity_text
from edgellm.runner.stage_text import counter_of, shown_counters

HEADLINE = (
    "ttft_ns",
    "tpot_ns",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "itl_p50_ns",
    "itl_p95_ns",
    "itl_p99_ns",
    "decode_ipc",
    "joules_per_token",
    "peak_rss_bytes",
    "bundle_bytes",
)


def render(report: Report, *, layers: bool = False, every_check: bool = False) -> str:
    """Return the report for people: headline with verdict, stages, roofs, gaps, checklist.

    Values are medians over repetitions ± median absolute deviation.

    Args:
        report: Of a bench run.
        layers: Show each layer by itself.
        every_check: Show also the rows of the checklist that passed or do not apply.
    """
    machine = report.environment
    series = series_of(report)
    blocks = [
        [
            f"{report.bundle.name}  {report.bundle.digest[:12]}  {report.started_utc}",
            f"{machine.name}, {report.workload.describe()}; median ± MAD; "
            f"verdict: {checklist.verdict(report).word.upper()}",
        ],
        aligned([METRICS[name].label, _cell(name, series[name])] for name in HEADLINE),
        aligned(_stages(report, series)),
        _depths(report),
        *stage_text.tables(report, layers=layers),
        *profile_text.tables(report),
        _roofs(report),
        _meanwhile(report),
        [*_sources(report), *_overhead(report)],
        parity_text(report.parity) if report.parity else [],
        list(report.missing()),
        checklist.render_checks(report, every=every_check),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _depths(report: Report) -> list[str]:
    """Decode at each depth: a long cache makes attention slower."""
    lines = []
    for depth in report.depths:
        time = shown("decode_ns", summarize(_per_token(depth.samples)))
        lines.append(f"decode step after {depth.context_tokens} tokens: {time}")
    return lines


def _meanwhile(report: Report) -> list[str]:
    """Say what the machine did during the run, and what the memory was."""
    lines, line, used = [], report.timeline, report.memory
    if line and line.samples:
        parts = _ranges("clock", [s.frequency_hz for s in line.samples], 1e9, "GHz")
        parts += _ranges("temperature", [s.temperature_celsius for s in line.samples], 1, "C")
        parts += throttle.describe(line.samples[-1].throttle)
        cost = 100 * line.cost_ns / max(line.duration_ns, 1)
        lines.append(
            f"during the run: {', '.join([*parts, f'{len(line.samples)} samples'])}, "
            f"which took {cost:.2f} % of a core"
        )
    rail = energy_rail(report)
    if rail:
        idle = "unknown" if rail.idle_watts is None else f"{rail.idle_watts:.2f} W"
        lines.append(f"energy: {rail.name}, {rail.source}; idle {idle}, not subtracted")
    if used.anonymous_bytes is not None and used.file_bytes is not None:
        lines.append(
            f"memory after it: {used.anonymous_bytes / 2**20:.0f} MiB of its own and "
            f"{used.file_bytes / 2**20:.0f} MiB of mapped files; page faults in the repetitions: "
            f"{used.minor_faults} minor, {used.major_faults} major"
        )
    return lines


def _ranges(
    what: str, readings: Sequence[Mapping[str, float]], scale: float, unit: str
) -> list[str]:
    """Return the lowest and highest reading of each sensor."""
    names = {name: None for reading in readings for name in reading}
    found = []
    for name in names:
        values = [reading[name] / scale for reading in readings if name in reading]
        found.append(f"{what} {name} {min(values):.3g} to {max(values):.3g} {unit}")
    return found


def _roofs(report: Report) -> list[str]:
    lines = []
    for roof in report.roofs:
        threads = "1 thread" if roof.threads == 1 else f"{roof.threads} threads"
        rates = [f"reads {roof.read_bytes_per_s / 1e9:.1f} GB/s"]
        rates += [f"{kind} {rate / 1e9:.0f} Gop/s" for kind, rate in roof.ops_per_s.items()]
        lines.append(f"roof with {threads}: {', '.join(rates)} (probed after the run)")
    return lines


def _sources(report: Report) -> list[str]:
    return [
        f"{COUNTER_LABELS[c.name]}: {c.source}{' (EMULATED)' if c.emulated else ''}"
        for c in report.counters
    ]


def _overhead(report: Report) -> list[str]:
    """Say what reading the clock and the counters costs, against a decode step."""
    decode = report.stage("decode")
    if not report.boundary_ns or decode is None:
        return []
    boundary = summarize(report.boundary_ns).median
    step = summarize(_per_token(decode)).median
    return [
        f"harness: {boundary / 1e3:.2f} us at each boundary, "
        f"{100 * boundary / step:.3f} % of a decode step, in its time"
    ]


def _per_token(stage: StageSamples) -> list[float]:
    return [ns / stage.tokens for ns in stage.wall_ns]


def _stages(report: Report, series: dict[str, Series | Unavailable]) -> list[list[str]]:
    shown = shown_counters(report) or (counter_of(report),)
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
