"""What is read at the boundaries of a run: time, counts, and why something is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CYCLES = "cycles"
INSTRUCTIONS = "instructions"
REFERENCE_CYCLES = "reference_cycles"
STALLED_CYCLES = "stalled_cycles"
L1D_REFILLS = "l1d_refills"
LLC_REFILLS = "llc_refills"
BRANCH_MISSES = "branch_misses"
BUS_ACCESSES = "bus_accesses"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A figure that this machine does not give, and why; never a zero in its place."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class CounterInfo:
    """What a counter counts.

    Attributes:
        name: ``cycles``, ``instructions`` and further hardware events, or ``reference_cycles``
            (time x rate).
        source: Where the counts come from, as a sentence for people.
        exclude_kernel: Only user mode was counted. Always False for reference cycles.
        rate_hz: The constant rate; None for a hardware counter.
        emulated: An emulator made the counts up; they are no real core's.
    """

    name: str
    source: str
    exclude_kernel: bool = False
    rate_hz: float | None = None
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class CounterSample:
    """One counter over one stage of one repetition, as read.

    ``running_ns < enabled_ns`` means that the kernel shared the counter out (multiplexing): the
    true count is then estimated when it is summarised, and marked.
    """

    value: int
    enabled_ns: int
    running_ns: int


@dataclass(frozen=True, slots=True)
class StageSamples:
    """One stage, one entry per repetition; warm-ups are kept apart.

    Attributes:
        stage: A name of ``records.units.STAGES``, or a stage of the graph
            (``layers.3.attention``).
        tokens: Tokens that the stage handles in one repetition; 0 for ``load``.
        wall_ns: Time of the stage in each repetition, the sum of its steps.
        warmup_wall_ns: The same for the warm-ups, which no figure uses.
        step_ns: For ``decode`` and ``sample``: each step of each repetition.
        counters: Counter name to one sample per repetition.
    """

    stage: str
    tokens: int
    wall_ns: tuple[int, ...]
    warmup_wall_ns: tuple[int, ...] = ()
    step_ns: tuple[tuple[int, ...], ...] = ()
    counters: Mapping[str, tuple[CounterSample, ...]] = field(default_factory=dict)


def wrong(stage: StageSamples) -> str:
    """Return what cannot be true of a stage's samples, or an empty string."""
    repetitions = len(stage.wall_ns)
    times = [*stage.wall_ns, *stage.warmup_wall_ns, *(ns for rep in stage.step_ns for ns in rep)]
    counts: list[int] = []
    for name, samples in stage.counters.items():
        if len(samples) != repetitions:
            return f"has {len(samples)} samples of {name!r} for {repetitions} repetitions"
        counts += [n for s in samples for n in (s.value, s.enabled_ns, s.running_ns)]
    if not repetitions:
        return "has no samples"
    if stage.step_ns and len(stage.step_ns) != repetitions:
        return f"has the steps of {len(stage.step_ns)} repetitions, not {repetitions}"
    smallest = min([*times, *counts])
    return f"holds {smallest}, which is not a measurement" if smallest < 0 else ""
