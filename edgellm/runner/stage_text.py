"""The stages of a call as a table: time, cycles, bytes, and how near they are to the roof."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgellm.records import breakdown
from edgellm.records.breakdown import Breakdown, Row
from edgellm.records.machine import Roof
from edgellm.records.metrics import multiplexed
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, REFERENCE_CYCLES
from edgellm.records.stages import kind_of
from edgellm.records.units import COUNTER_LABELS
from edgellm.records.views import StagedPhase
from edgellm.runner.columns import aligned

INPUT, LAYERS, OUTPUT = "input encoding", "layers", "output decoding"
SECTIONS = {
    "tokenize": INPUT,
    "embedding": INPUT,
    "final_norm": OUTPUT,
    "head": OUTPUT,
    "sample": OUTPUT,
    "detokenize": OUTPUT,
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, and a row's cell; None where the row has no such figure."""

    head: str
    cell: Callable[[Row], str | None]


def counter_of(report: Report) -> str:
    """Return the name of the counter that a cycles column shows."""
    return REFERENCE_CYCLES if report.counted(REFERENCE_CYCLES) else CYCLES


def shown_counters(report: Report) -> tuple[str, ...]:
    """Return the counters that tables show, of those that were read."""
    return tuple(name for name in (counter_of(report), INSTRUCTIONS) if report.counted(name))


def has_ipc(report: Report) -> bool:
    """Tell whether cycles and instructions are a core's own; an emulator's cycles are made up."""
    pair = report.counted(CYCLES), report.counted(INSTRUCTIONS)
    return all(info is not None and not info.emulated for info in pair)


def roof_of(report: Report) -> Roof | None:
    """Return the roof with as many threads as the run had."""
    return next((r for r in report.roofs if r.threads == report.workload.threads), None)


def share_of_roof(row: Row, roof: Roof) -> float | None:
    """Return how near a stage is to the roofline (Williams 2009): 1 is as fast as it can be.

    The roof is the memory's bandwidth for what is read, or the fastest matrix product for what is
    computed, whichever takes longer.
    """
    if not row.bytes or row.ns <= 0:
        return None
    fastest = max(roof.ops_per_s.values(), default=0.0)
    compute_s = (row.operations or 0) / fastest if fastest else 0.0
    return max(row.bytes / roof.read_bytes_per_s, compute_s) * 1e9 / row.ns


def tables(report: Report, *, layers: bool = False) -> Iterator[list[str]]:
    """Yield a block of lines for each phase of the staged view.

    Args:
        report: With a staged view.
        layers: A row for each layer, not one for all.
    """
    view = report.views.staged
    for phase in view.phases if view else ():
        found = breakdown.breakdown(report, phase, (lambda s: s) if layers else kind_of)
        rows = [*_python_rows(report, phase, found)]
        yield [_title(report, phase), *_table(report, rows), *_sums(found)]


def _title(report: Report, phase: StagedPhase) -> str:
    if phase.phase == "prefill":
        return f"prefill of {report.workload.prompt_tokens} tokens, by stage"
    return f"decode step after {phase.context_tokens} tokens, by stage"


def _python_rows(report: Report, phase: StagedPhase, found: Breakdown) -> Iterator[Row]:
    """Yield the graph's rows with those of the stages around it, which the whole run measured."""
    around = {stage.stage: _around(report, stage.stage) for stage in report.stages if stage.tokens}
    if phase.phase == "prefill":
        yield around["tokenize"]
    yield from found.rows
    yield around["sample"]
    if phase.phase == "decode":
        yield around["detokenize"]


def _around(report: Report, name: str) -> Row:
    """Return a stage outside the graph: of a prompt, or for each token that it makes."""
    stage = report.stage(name)
    assert stage is not None
    found = breakdown.figures(stage, 1 if name == "tokenize" else stage.tokens)
    return Row(name, 1, found.pop(breakdown.TIME), found, None, None)


def _table(report: Report, rows: list[Row]) -> list[str]:
    total = sum(row.ns for row in rows)
    mark = "~" if multiplexed(report) else ""
    columns = [
        Column("stage", _label),
        Column("ms", lambda row: f"{row.ns / 1e6:z.3f}"),
        Column("share", lambda row: f"{100 * row.ns / total:z.1f} %"),
    ]
    columns += [_counted(name, mark) for name in shown_counters(report)]
    if has_ipc(report):
        columns.append(Column("IPC", lambda row: f"{row.ipc:.2f}" if row.ipc else None))
    columns += _memory_columns(report) if report.work else []
    heads = [["part", *(column.head for column in columns)]]
    lines, last = [], ""
    for row in rows:
        part = SECTIONS.get(kind_of(row.name), LAYERS)
        lines.append(
            ["" if part == last else part, *(column.cell(row) or "-" for column in columns)]
        )
        last = part
    return aligned([*heads, *lines], left=2)


def _counted(counter: str, mark: str) -> Column:
    def cell(row: Row) -> str | None:
        return f"{mark}{row.counts[counter] / 1e6:z.3f}" if counter in row.counts else None

    return Column(f"M {COUNTER_LABELS[counter]}", cell)


def _memory_columns(report: Report) -> list[Column]:
    columns = [
        Column("MiB", lambda row: f"{row.bytes / 2**20:.2f}" if row.bytes else None),
        Column("GB/s", lambda row: f"{row.bytes_per_s / 1e9:.2f}" if row.bytes_per_s else None),
    ]
    roof = roof_of(report)
    if roof:

        def of_roof(row: Row) -> str | None:
            share = share_of_roof(row, roof)
            return f"{100 * share:.0f} %" if share else None

        columns.append(Column("of roof", of_roof))
    columns.append(
        Column("ops/byte", lambda row: f"{row.intensity:.1f}" if row.intensity else None)
    )
    return columns


def _label(row: Row) -> str:
    name = row.name.replace("_", " ")
    return f"{name} x{row.count}" if row.count > 1 else name


def _sums(found: Breakdown) -> list[str]:
    """Say how the stages add up, and what the cut lost."""
    if found.whole_ns is None or found.excess is None:
        return [
            f"stages sum to {found.sum_ns / 1e6:.3f} ms, of which the cuts "
            f"{found.cut_ns / 1e6:.3f} ms; memory did not allow the whole graph beside them"
        ]
    lines = [
        f"stages sum to {found.sum_ns / 1e6:.3f} ms against {found.whole_ns / 1e6:.3f} ms uncut: "
        f"{100 * (found.sum_ns / found.whole_ns - 1):+.1f} %, and {100 * found.excess:+.1f} % "
        "without the cuts' own cost, which is taken out of the rows"
    ]
    if not found.representative:
        lines.append(
            "NOT REPRESENTATIVE: cutting the graph lost more than 5 % (calls between the parts, "
            "colder caches): take the shares, and the whole's time"
        )
    return lines
