"""What one bench run measured: raw samples, the machine, and what could not be had.

Nothing derived is stored: means, ratios and rates are computed on reading (``records.metrics``).

History of the format:
    report 1: first version.
    report 2: further counters, depths, the views, the machine's timeline and its roofs; what makes
        figures uncertain is judged on reading (``runner.checklist``) and no longer stored.
        Parity with the machine that made the bundle came later, with a default.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgellm.errors import BundleInvalid
from edgellm.records import codec
from edgellm.records.machine import Environment, Memory, Roof, Timeline
from edgellm.records.parity import Parity
from edgellm.records.samples import CounterInfo, StageSamples, Unavailable, wrong
from edgellm.records.views import StageWork, Views


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
class Depth:
    """Decode steps that begin at a number of tokens in the cache; the stage is ``decode``."""

    context_tokens: int
    samples: StageSamples


def _upgrade_1(data: dict[str, Any]) -> dict[str, Any]:
    """Lift report 1: the cautions that it stored are judged anew; all that is new has a default."""
    data = dict(data)
    cautions = data.pop("warnings", [])
    reset = all(caution["code"] != "peak_not_reset" for caution in cautions)
    return {**data, "memory": {**data["memory"], "clean_peak": reset}}


@dataclass(frozen=True, slots=True)
class Report:
    """One process that loaded a bundle once and ran a workload several times.

    Attributes:
        tool_version: Of edgellm.
        started_utc: ISO 8601.
        bundle: What was measured.
        workload: What was run.
        environment: Where.
        counters: What was counted beside time.
        stages: The whole: every stage that Python can see, in order.
        memory: Of the process.
        output_sha256: One digest of the output ids per repetition, so that speed without the same
            text is visible.
        unavailable: What could not be measured.
        start_ns: When each repetition that counts began, after the run's start.
        boundary_ns: What reading the clock and the counters costs: one entry per sample.
        depths: Decode at other depths than after the prompt.
        work: What each stage of the graph must move and compute; empty in old bundles.
        views: The graph's stages and operators.
        timeline: The machine meanwhile; None where nothing was sampled.
        roofs: The most that the machine can do; empty where it was not probed.
        parity: Whether the machine answers like the one that made the bundle; None where that
            was not asked.
        interleaved: The same text in reports whose repetitions took turns; None for a run alone.
    """

    KIND: ClassVar[str] = "report"
    SCHEMA: ClassVar[int] = 2
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _upgrade_1}

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
    start_ns: tuple[int, ...] = ()
    boundary_ns: tuple[int, ...] = ()
    depths: tuple[Depth, ...] = ()
    work: tuple[StageWork, ...] = ()
    views: Views = field(default_factory=Views)
    timeline: Timeline | None = None
    roofs: tuple[Roof, ...] = ()
    interleaved: str | None = None
    parity: Parity | None = None

    def missing(self) -> tuple[str, ...]:
        """Return what could not be measured as sentences, each reason once."""
        by_reason: dict[str, list[str]] = {}
        parity = self.parity.missing if self.parity else ()
        for gap in (*self.unavailable, *self.views.missing, *parity):
            by_reason.setdefault(gap.why, []).append(gap.what)
        return tuple(f"{', '.join(what)} not measured: {why}" for why, what in by_reason.items())

    def stage(self, name: str) -> StageSamples | None:
        """Return the samples of a stage, or None where it was not run."""
        return next((stage for stage in self.stages if stage.stage == name), None)

    def counted(self, name: str) -> CounterInfo | None:
        """Return what a counter counts, or None where it was not read."""
        return next((info for info in self.counters if info.name == name), None)


def read(path: Path) -> Report:
    """Read a report.

    Raises:
        BundleInvalid: Not a report, a newer schema, damaged, or samples that cannot be.
    """
    report = codec.read(Report, path)
    for samples in _every(report):
        fault = wrong(samples)
        if fault:
            raise BundleInvalid(f"{path}: stage {samples.stage!r} {fault}: the file is damaged")
    staged = report.views.staged
    for phase in staged.phases if staged else ():
        lengths = {len(s.wall_ns) for s in (*phase.stages, *phase.cuts)}
        lengths |= {len(phase.whole_ns)} if phase.whole_ns else set()
        if len(lengths) != 1 or len(phase.stages) != len(phase.cuts) or phase.calls < 1:
            raise BundleInvalid(
                f"{path}: the stages of {phase.phase} do not match each other: the file is damaged"
            )
    return report


def _every(report: Report) -> Iterator[StageSamples]:
    yield from report.stages
    for depth in report.depths:
        yield depth.samples
    if report.views.staged:
        for phase in report.views.staged.phases:
            yield from (*phase.stages, *phase.cuts)
