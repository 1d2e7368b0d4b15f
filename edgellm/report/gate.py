"""Decides whether a run is right, and slower than its baseline by more than a limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgellm.errors import RegressionFound, UsageError
from edgellm.records import metrics
from edgellm.records.report import Report
from edgellm.records.samples import INSTRUCTIONS, Unavailable
from edgellm.records.units import METRICS, stage_metric
from edgellm.report.compare import (
    MACHINE,
    MIN_EFFECT,
    WORKLOAD,
    Look,
    Named,
    compare,
    require_no_slowdown,
    slowdown,
    unequal,
)
from edgellm.runner import checklist

Evidence = Literal["time", "instructions", "parity"]

QUESTION: Mapping[str, Look] = {
    "bundle's name": lambda r: r.bundle.name,
    **WORKLOAD,
    "prompt's digest": lambda r: r.workload.prompt_sha256[:12],
}
"""What must be equal; the bundle's digest may differ, because that is the question."""

CORE: Mapping[str, Look] = {
    "CPU": MACHINE["CPU"],
    "machine": MACHINE["machine"],
    "emulation": lambda r: r.environment.emulation,
    "source of instructions": lambda r: (info := r.counted(INSTRUCTIONS)) and info.source,
}
"""What must be equal for instructions to be compared."""

COUNTED = (stage_metric("decode", INSTRUCTIONS), stage_metric("prefill", INSTRUCTIONS))


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says.

    Attributes:
        passed: No figure is worse by more than the limit.
        evidence: What was judged.
        limit: As a share.
        sentence: Why.
    """

    passed: bool
    evidence: Evidence
    limit: float
    sentence: str


def decide(new: Named, baseline: Named, limit: float, on: Evidence | None = None) -> Decision:
    """Hold a run against its baseline.

    A run that does not answer like the machine that made its bundle does not pass, however fast it
    is. Time decides where both runs are fit for it, else instructions, which other work on the
    machine hardly changes.

    Args:
        new: The run in question.
        baseline: What it is held against.
        limit: How much more time or how many more instructions are accepted: 0.05 is 5 %.
        on: Judge this evidence alone.

    Raises:
        UsageError: The runs answer different questions, or no evidence is fit to decide.
    """
    unlike = unequal(QUESTION, baseline, new)
    if unlike:
        raise UsageError(f"the gate needs two runs of one workload: {unlike[0]}")
    faults = list(new.report.parity.faults()) if new.report.parity else []
    if faults:
        return Decision(False, "parity", limit, _not_met(new, faults))
    doubts = {
        "time": _doubt_of_time(new, baseline, limit),
        "instructions": _doubt_of_instructions(new, baseline),
    }
    if not doubts["time"] and on != "instructions":
        return _by_time(new, baseline, limit)
    if not doubts["instructions"] and on != "time":
        return _by_instructions(new, baseline, limit)
    asked = [f"{name} cannot decide ({doubts[name]})" for name in doubts if on in (None, name)]
    raise UsageError(
        f"{'; '.join(asked)}: measure both on one quiet machine, or count the instructions of both "
        "under emulation with scripts/emulation/count (docs/emulation.md)"
    )


def _not_met(new: Named, faults: Sequence[str]) -> str:
    parity = new.report.parity
    assert parity is not None, "it has the faults"
    return (
        f"{new.name} does not answer like the machine that made its bundle ({parity.made_on}): "
        f"{'; '.join(faults)}"
    )


def _doubt_of_time(new: Named, baseline: Named, limit: float) -> str:
    """Return why time cannot decide, or an empty string."""
    if limit < MIN_EFFECT:
        return f"changes of time below {MIN_EFFECT:.0%} are not shown"
    for named in (new, baseline):
        environment = named.report.environment
        if environment.emulation:
            return f"{named.name} ran emulated: {environment.emulation}"
        found = checklist.verdict(named.report)
        if found.word != "valid":
            return f"{named.name} is {found.word}: {'; '.join(found.reasons)}"
    return next(iter(unequal(MACHINE, baseline, new)), "")


def _doubt_of_instructions(new: Named, baseline: Named) -> str:
    """Return why instructions cannot decide, or an empty string."""
    for named in (new, baseline):
        series = metrics.series_of(named.report)
        for metric in COUNTED:
            values = series[metric]
            if isinstance(values, Unavailable):
                return f"{named.name} has none: {values.why}"
        threads = named.report.workload.threads
        if threads != 1:
            return f"{named.name} has {threads} threads, which wait in loops of no fixed length"
        if metrics.multiplexed(named.report) > 0:
            return f"the counters of {named.name} were multiplexed, so its counts are estimates"
    return next(iter(unequal(CORE, baseline, new)), "")


def _by_time(new: Named, baseline: Named, limit: float) -> Decision:
    comparison = compare([baseline, new], allow=True)
    try:
        require_no_slowdown(comparison, limit)
    except RegressionFound as error:
        return Decision(False, "time", limit, str(error))
    factors = {
        METRICS[row.metric].label: factor
        for row in comparison.rows
        if METRICS[row.metric].headline
        and (factor := slowdown(METRICS[row.metric], row.changes[0])) is not None
    }
    return _passed("time", factors, limit)


def _by_instructions(new: Named, baseline: Named, limit: float) -> Decision:
    before, after = _medians(baseline.report), _medians(new.report)
    factors = {METRICS[name].label: after[name] / before[name] for name in COUNTED}
    label, factor = _worst(factors)
    if factor <= 1 + limit:
        return _passed("instructions", factors, limit)
    return Decision(
        False,
        "instructions",
        limit,
        f"{label}: {100 * (factor - 1):.2f} % more in {new.name} than in {baseline.name}, and the "
        f"limit is {100 * limit:g} %",
    )


def _medians(report: Report) -> dict[str, float]:
    series = metrics.series_of(report)
    found = {}
    for name in COUNTED:
        values = series[name]
        assert not isinstance(values, Unavailable), "the doubts were asked before"
        found[name] = metrics.summarize(values).median
    return found


def _worst(factors: Mapping[str, float]) -> tuple[str, float]:
    return max(factors.items(), key=lambda item: item[1])


def _passed(evidence: Evidence, factors: Mapping[str, float], limit: float) -> Decision:
    label, factor = _worst(factors)
    sentence = (
        f"passed on {evidence}: the worst is {label} at {100 * (factor - 1):+.2f} %, and the limit "
        f"is {100 * limit:g} %"
    )
    return Decision(True, evidence, limit, sentence)
