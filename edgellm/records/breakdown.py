"""Where the time of a call goes, from the staged view: computed on reading, as all figures are.

Each cut's own cost, measured beside its stage, is taken out. What is left must add up to the uncut
graph, or the view says that it does not represent it.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgellm.records.metrics import counts
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, StageSamples
from edgellm.records.views import StagedPhase, StageWork
from edgellm.records.work import moved_bytes, operations

REPRESENTATIVE = 0.05  # the stages' sum is off the whole by at most this share


@dataclass(frozen=True, slots=True)
class Row:
    """A stage, or the same stage of every layer, of one call: a prefill or a decode step.

    Attributes:
        name: ``attention``, or ``layers.3.attention``.
        count: Stages in it.
        ns: Time, nanoseconds, without the cuts' cost.
        counts: By counter.
        bytes: What it must move; None where the bundle does not say.
        operations: What it must compute, a multiply-accumulate being two; None likewise.
    """

    name: str
    count: int
    ns: float
    counts: Mapping[str, float]
    bytes: int | None
    operations: int | None

    @property
    def bytes_per_s(self) -> float | None:
        """Bytes over time."""
        return self.bytes * 1e9 / self.ns if self.bytes and self.ns > 0 else None

    @property
    def intensity(self) -> float | None:
        """Operations for each byte moved."""
        return self.operations / self.bytes if self.operations and self.bytes else None

    @property
    def ipc(self) -> float | None:
        """Instructions for each cycle, where both were counted."""
        cycles = self.counts.get(CYCLES)
        instructions = self.counts.get(INSTRUCTIONS)
        return instructions / cycles if cycles and instructions else None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One call by stages.

    Attributes:
        rows: In the order of the graph.
        sum_ns: Of the stages as measured, with the cuts.
        cut_ns: What the cuts cost.
        whole_ns: The uncut graph in the same minutes; None where it was not measured.
        excess: Share by which the stages' sum without the cuts is above the whole.
    """

    rows: tuple[Row, ...]
    sum_ns: float
    cut_ns: float
    whole_ns: float | None
    excess: float | None

    @property
    def representative(self) -> bool:
        """The stages add up to the whole, as far as that could be seen."""
        return self.excess is None or abs(self.excess) <= REPRESENTATIVE


def breakdown(
    report: Report, phase: StagedPhase, group: Callable[[str], str] = lambda stage: stage
) -> Breakdown:
    """Return a phase by stages.

    Args:
        report: For what each stage must move and compute.
        phase: Of its staged view.
        group: What stages are summed by: themselves, or ``kind_of``.
    """
    work = {item.stage: item for item in report.work}
    per = phase.calls if phase.phase == "decode" else 1
    rows: dict[str, Row] = {}
    cut_ns = 0.0
    for stage, cut in zip(phase.stages, phase.cuts, strict=True):
        found, lost = figures(stage, per), figures(cut, per)
        known = work.get(stage.stage)
        row = Row(
            group(stage.stage),
            1,
            found.pop(TIME) - lost[TIME],
            {name: count - lost.get(name, 0.0) for name, count in found.items()},
            *(_demand(known, stage.tokens // per, phase) if known else (None, None)),
        )
        rows[row.name] = _added(rows[row.name], row) if row.name in rows else row
        cut_ns += lost[TIME]
    sums = [sum(parts) for parts in zip(*(s.wall_ns for s in phase.stages), strict=True)]
    whole = statistics.median(phase.whole_ns) / per if phase.whole_ns else None
    return Breakdown(
        tuple(rows.values()),
        statistics.median(sums) / per,
        cut_ns,
        whole,
        _excess(sums, phase) if phase.whole_ns else None,
    )


TIME = "ns"


def figures(stage: StageSamples, per: int) -> dict[str, float]:
    """Return the median time (``TIME``) and counts of a stage, divided by ``per``."""
    found = {TIME: statistics.median(stage.wall_ns) / per}
    for name, samples in stage.counters.items():
        whole = counts(samples)
        if whole is not None:
            found[name] = statistics.median(whole) / per
    return found


def _demand(work: StageWork, tokens: int, phase: StagedPhase) -> tuple[int, int]:
    """Return bytes and operations of a prefill, or of the middle one of a row of decode steps."""
    decode = phase.phase == "decode"
    context = phase.context_tokens + (phase.calls // 2 if decode else 0)
    chunk = None if decode else phase.chunk_tokens
    return moved_bytes(work, tokens, context, chunk=chunk), operations(work, tokens, context)


def _added(a: Row, b: Row) -> Row:
    return Row(
        a.name,
        a.count + b.count,
        a.ns + b.ns,
        {name: a.counts[name] + b.counts[name] for name in a.counts.keys() & b.counts.keys()},
        None if a.bytes is None or b.bytes is None else a.bytes + b.bytes,
        None if a.operations is None or b.operations is None else a.operations + b.operations,
    )


def _excess(sums: Sequence[int], phase: StagedPhase) -> float:
    """Return the median over repetitions, each held against the whole that ran beside it."""
    cuts = [sum(parts) for parts in zip(*(cut.wall_ns for cut in phase.cuts), strict=True)]
    rounds = zip(sums, cuts, phase.whole_ns, strict=True)
    excess: list[float] = [(total - cut) / whole - 1 for total, cut, whole in rounds]
    return statistics.median(excess)
