"""What explains that a stage takes longer on one machine than on another, from two reports alone.

Time is instructions x cycles per instruction / clock. Each of these that both reports hold is a
factor; what no factor covers is left over and said to be. What has no exact share in the time, such
as bandwidth or a missing instruction, stands beside with its numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.measure.isa import isa_name
from edgellm.records.metrics import multiplexed, series_of, summarize
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, Unavailable
from edgellm.records.units import stage_metric


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of a ratio of times; above 1 makes the other machine slower.

    Attributes:
        ratio: Other / reference, in time.
        numbers: What it is, with the figures of both.
    """

    ratio: float
    numbers: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A stage on two machines.

    Attributes:
        stage: Its name.
        reference: Name of the one report.
        other: Name of the other.
        ratio: Time of the other / time of the reference.
        factors: What of it is explained; their product is that.
        rest: What is left: ``ratio`` / product of ``factors``.
        beside: Facts that bear on it without an exact share.
        why: Why nothing can be explained, or an empty string.
    """

    stage: str
    reference: str
    other: str
    ratio: float
    factors: tuple[Factor, ...] = ()
    rest: float = 1.0
    beside: tuple[str, ...] = ()
    why: str = ""


def explain(
    reference_name: str, reference: Report, other_name: str, other: Report, stage: str
) -> Explanation:
    """Explain the time of a stage that both reports have.

    Args:
        reference_name: Name of the reference.
        reference: The report to explain from.
        other_name: Name of the other report.
        other: The report to explain.
        stage: ``prefill`` or ``decode``.
    """
    before, after = (_Facts(report, stage) for report in (reference, other))
    beside = tuple(_beside(reference, before, other, after))
    ratio = after.ns / before.ns
    emulated = [
        name
        for name, report in ((reference_name, reference), (other_name, other))
        if report.environment.emulation
    ]
    if emulated:
        why = f"{' and '.join(emulated)} ran emulated, so the times are the emulator's"
        beside = (*_instructions_alone(before, after), *beside)
        return Explanation(stage, reference_name, other_name, ratio, beside=beside, why=why)
    factors = tuple(_factors(before, after))
    rest = ratio
    for factor in factors:
        rest /= factor.ratio
    return Explanation(stage, reference_name, other_name, ratio, factors, rest, beside)


class _Facts:
    """What a report says of a stage: medians per token or prompt; None where it does not say.

    Attributes:
        ns: Time.
        instructions: None also where they are an estimate.
        cycles: Of real cores.
        clock_hz: Cycles per second of one thread, else what cpufreq allows the fastest core.
        clock_source: Which of the two.
        bandwidth: Sequential reads that the machine was probed for, in bytes per second.
        asked: Bytes of weights per second that the stage asked for.
    """

    def __init__(self, report: Report, stage: str) -> None:
        series = series_of(report)

        def median(quantity: str) -> float | None:
            values = series[stage_metric(stage, quantity)]
            return None if isinstance(values, Unavailable) else summarize(values).median

        self.ns = median("ns") or 1.0
        exact = multiplexed(report) == 0
        cycles = report.counted(CYCLES)
        real = exact and cycles is not None and not cycles.emulated
        self.instructions = median(INSTRUCTIONS) if exact else None
        self.cycles = median(CYCLES) if real else None
        self.counter = report.counted(INSTRUCTIONS)
        self.clock_hz, self.clock_source = None, ""
        limits = [p.max_hz for p in report.environment.policies if p.max_hz]
        if self.cycles and report.workload.threads == 1 and cycles and not cycles.exclude_kernel:
            self.clock_hz, self.clock_source = self.cycles * 1e9 / self.ns, "measured"
        elif limits:
            self.clock_hz, self.clock_source = float(max(limits)), "the most that cpufreq allows"
        self.bandwidth = report.roofs[0].read_bytes_per_s if report.roofs else None
        weights = sum(work.weight_bytes for work in report.work)
        self.asked = weights / self.ns * 1e9 if weights and stage == "decode" else None


def _factors(before: _Facts, after: _Facts) -> Iterator[Factor]:
    counted = _comparable(before, after)
    if counted:
        first, second = counted
        yield Factor(
            second / first,
            f"instructions ({second / 1e6:.4g} M against {first / 1e6:.4g} M)",
        )
    if counted and before.cycles and after.cycles:
        first, second = (before.cycles / counted[0], after.cycles / counted[1])
        yield Factor(
            second / first,
            f"cycles per instruction (IPC {1 / second:.2f} against {1 / first:.2f})",
        )
    if before.clock_hz and after.clock_hz and before.clock_source == after.clock_source:
        first, second = before.clock_hz, after.clock_hz
        yield Factor(
            first / second,
            f"the clock, {before.clock_source} ({second / 1e9:.2f} GHz against {first / 1e9:.2f})",
        )


def _comparable(before: _Facts, after: _Facts) -> tuple[float, float] | None:
    """Return the instructions of both, where both are counted in the same modes."""
    if not (before.instructions and after.instructions and before.counter and after.counter):
        return None
    if before.counter.exclude_kernel != after.counter.exclude_kernel:
        return None
    return before.instructions, after.instructions


def _instructions_alone(before: _Facts, after: _Facts) -> Iterator[str]:
    counted = _comparable(before, after)
    if counted:
        first, second = counted
        yield (
            f"instructions: {second / first:.2f}x ({second / 1e6:.4g} M against "
            f"{first / 1e6:.4g} M)"
        )


def _beside(reference: Report, before: _Facts, other: Report, after: _Facts) -> Iterator[str]:
    names = [isa_name(r.environment.machine, r.environment.features) for r in (reference, other)]
    if names[0] != names[1]:
        yield f"arithmetic: {names[1]} against {names[0]}"
    if before.bandwidth and after.bandwidth:
        first, second = before.bandwidth, after.bandwidth
        line = f"read bandwidth: {second / first:.2f}x ({second / 1e9:.3g} against "
        line += f"{first / 1e9:.3g} GB/s)"
        if before.asked and after.asked:
            line += (
                f"; weights ask for {100 * after.asked / second:.0f} % of it against "
                f"{100 * before.asked / first:.0f} %"
            )
        yield line
