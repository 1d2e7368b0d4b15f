"""What one bench run measured: raw samples, the machine, and what could not be had.

Nothing derived is stored: means, ratios and rates are computed on reading (``records.metrics``).

History of the format:
    report 1: first version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgellm.errors import BundleInvalid
from edgellm.records import codec

CYCLES = "cycles"
REFERENCE_CYCLES = "reference_cycles"
INSTRUCTIONS = "instructions"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A figure that this machine does not give, and why; never a zero in its place."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that makes figures less certain; the sentence ends in advice."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class CounterInfo:
    """What a counter counts.

    Attributes:
        name: ``cycles``, ``instructions`` (hardware) or ``reference_cycles`` (time x rate).
        source: Where the counts come from, as a sentence for people.
        exclude_kernel: Only user mode was counted. Always False for reference cycles.
        rate_hz: The constant rate; None for a hardware counter.
    """

    name: str
    source: str
    exclude_kernel: bool = False
    rate_hz: float | None = None


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
        stage: A name of ``records.units.STAGES``.
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


@dataclass(frozen=True, slots=True)
class Workload:
    """What was run: the same prompt in every repetition, greedy, stop tokens ignored.

    There is no prefix cache, so a repeated prompt costs the same each time.

    Attributes:
        prompt_tokens: Length of the prompt by the bundle's tokenizer.
        output_tokens: Tokens produced; the first comes from the prefill.
        context_tokens: Size of the key-value cache.
        threads: Threads of the session.
        warmup: Repetitions that were measured and left out.
        repetitions: Repetitions that count.
        prompt_sha256: Digest of the prompt's text.
        batch: Sequences at once.
    """

    prompt_tokens: int
    output_tokens: int
    context_tokens: int
    threads: int
    warmup: int
    repetitions: int
    prompt_sha256: str
    batch: int = 1

    def describe(self) -> str:
        """Return the workload in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{threads}, {self.prompt_tokens} prompt tokens, {self.output_tokens} output tokens, "
            f"{self.repetitions} repetitions after {self.warmup} warm-up"
        )


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What was measured; ``bytes`` is the size of all its files."""

    name: str
    digest: str
    bytes: int
    quality: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the process; ``peak_rss_bytes`` covers loading and every repetition."""

    peak_rss_bytes: int | None
    loaded_rss_bytes: int | None
    kv_cache_bytes: int


@dataclass(frozen=True, slots=True)
class FrequencyPolicy:
    """A group of cores that share a clock, as cpufreq describes it."""

    name: str
    cpus: tuple[int, ...]
    governor: str | None
    min_hz: int | None
    max_hz: int | None


@dataclass(frozen=True, slots=True)
class MachineState:
    """What changes while a machine works: read before and after."""

    load_average: float | None
    memory_available_bytes: int | None
    swap_used_bytes: int | None
    frequency_hz: Mapping[str, int]
    temperature_celsius: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine during the run; ``versions`` maps a package to its version."""

    kernel: str
    machine: str
    cpu_model: str | None
    board: str | None
    virtual: bool
    cores: int
    affinity: tuple[int, ...]
    memory_bytes: int | None
    policies: tuple[FrequencyPolicy, ...]
    versions: Mapping[str, str]
    before: MachineState
    after: MachineState

    @property
    def name(self) -> str:
        """The board, else its processor."""
        return self.board or self.cpu_model or self.machine


@dataclass(frozen=True, slots=True)
class Report:
    """One process that loaded a bundle once and ran a workload several times.

    Attributes:
        output_sha256: One digest of the output ids per repetition, so that speed without the same
            text is visible.
    """

    KIND: ClassVar[str] = "report"
    SCHEMA: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    tool_version: str
    started_utc: str
    bundle: BundleFacts
    workload: Workload
    environment: Environment
    counters: tuple[CounterInfo, ...]
    stages: tuple[StageSamples, ...]
    memory: Memory
    output_sha256: tuple[str, ...]
    unavailable: tuple[Unavailable, ...] = ()
    warnings: tuple[Caution, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """Return what could not be measured as sentences, each reason once."""
        by_reason: dict[str, list[str]] = {}
        for gap in self.unavailable:
            by_reason.setdefault(gap.why, []).append(gap.what)
        return tuple(f"{', '.join(what)} not measured: {why}" for why, what in by_reason.items())

    def stage(self, name: str) -> StageSamples | None:
        """Return the samples of a stage, or None where it was not run."""
        return next((stage for stage in self.stages if stage.stage == name), None)


def read(path: Path) -> Report:
    """Read a report.

    Raises:
        BundleInvalid: Not a report, a newer schema, damaged, or samples that cannot be.
    """
    report = codec.read(Report, path)
    for stage in report.stages:
        wrong = _wrong(stage)
        if wrong:
            raise BundleInvalid(f"{path}: stage {stage.stage!r} {wrong}: the file is damaged")
    return report


def _wrong(stage: StageSamples) -> str:
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
