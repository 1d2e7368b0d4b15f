"""Runs a workload on a bundle, stage by stage, and reports what each repetition took."""

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
import tokenizers

from edgellm import __version__
from edgellm.errors import UsageError
from edgellm.measure import counters, environment, memory, sampler
from edgellm.measure.clock import Clock, Laps, StageTimer, monotonic
from edgellm.records.machine import Memory
from edgellm.records.manifest import BundleManifest
from edgellm.records.progress import Progress, silent
from edgellm.records.report import BundleFacts, Depth, Report, Workload
from edgellm.records.samples import StageSamples
from edgellm.records.units import STAGES, Stage
from edgellm.runner import bench_prompt, load, pages
from edgellm.runner.generate import LanguageModel
from edgellm.runner.plan import Pace, Plan, until_precise
from edgellm.runner.requirements import OPERATORS, OURS
from edgellm.runner.sampling import GREEDY, Sampler

VERSIONS = {  # what decides speed beside the bundle
    "edgellm": __version__,
    "numpy": np.__version__,
    "onnxruntime": ort.__version__,
    "tokenizers": tokenizers.__version__,
}


class OpenedBundle(Protocol):
    """What the harness needs of :class:`edgellm.runner.load.Bundle`."""

    @property
    def kernels(self) -> str | None:
        """The library of operators that it runs with."""

    @property
    def manifest(self) -> BundleManifest:
        """What the bundle says of itself."""

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """Text to token ids and back."""

    def session(self, *, threads: int, context: int | None) -> LanguageModel:
        """Open the model."""


BOUNDARIES, BOUNDARY_SAMPLES = 200, 20


@dataclass(frozen=True, slots=True)
class Machine:
    """Where time, counts and the machine's facts come from; tests put their own here."""

    clock: Clock = monotonic
    open_counters: Callable[[], contextlib.AbstractContextManager[counters.OpenCounters]] = (
        counters.open_counters
    )
    root: Path = Path("/")


THIS_MACHINE = Machine()


def measure_bundle(
    path: Path,
    plan: Plan,
    *,
    machine: Machine = THIS_MACHINE,
    open_bundle: Callable[[Path], OpenedBundle] = load.open_bundle,
    pace: Pace | None = None,
    progress: Progress = silent,
) -> Report:
    """Load a bundle once and run the workload; nothing is kept of an interrupted run.

    The counters are opened before the session's threads exist, so that they are counted.

    Args:
        path: The bundle.
        plan: How much to run.
        machine: Where time and counts come from.
        open_bundle: Opens ``path``.
        pace: Says before each repetition whether to run it; by the plan where None.
        progress: Told after each repetition.

    Returns:
        The raw samples with the machine's state before, during and after.

    Raises:
        UsageError: The bundle does not exist or the workload does not fit its context.
        BundleInvalid: The bundle is damaged.
    """
    started, before = datetime.now(UTC), environment.state(machine.root)
    clean_peak = memory.reset_peak(machine.root)
    began = machine.clock()
    # The counters count the threads that start after them, so the sampler comes first.
    with sampler.Sampler(machine.clock, began, root=machine.root) as watch:
        watch.idle()
        with machine.open_counters() as opened:
            timer = StageTimer(machine.clock, opened.counters)
            timer.start()
            bundle = open_bundle(path)
            model = bundle.session(threads=plan.used_threads, context=plan.used_context)
            timer.lap("load")
            if pace is not None:  # who takes turns is compared: by the model, not by its pages
                pages.collapse(machine.root)
            loaded_rss = memory.rss_bytes(machine.root)
            run = Run(bundle.tokenizer, model, timer, machine.clock, plan, progress)
            run.workload(pace or until_precise(plan, machine.clock))
            for depth in plan.depths:
                run.depth(depth)
            boundary_ns = _boundary(timer, machine.clock)
    kv_bytes = bundle.manifest.model.kv.bytes(plan.used_context)
    used = _memory(machine.root, run.faults, kv_bytes, loaded_rss, clean_peak=clean_peak)
    after = environment.state(machine.root)
    versions = {**VERSIONS, **_kernels(bundle)}
    facts, gaps = environment.environment(before, after, versions, machine.root)
    return Report(
        tool_version=__version__,
        started_utc=started.isoformat(timespec="seconds"),
        bundle=_facts(bundle.manifest),
        workload=run.described(),
        environment=facts,
        counters=opened.counters.infos,
        stages=run.samples.stages(plan),
        memory=used,
        output_sha256=tuple(run.samples.outputs),
        unavailable=(*opened.missing, *gaps, *watch.missing),
        start_ns=tuple(at - began for at in run.start_ns),
        boundary_ns=boundary_ns,
        depths=tuple(run.depths),
        timeline=watch.timeline(),
    )


def _memory(
    root: Path, faults: memory.Faults, kv_bytes: int, loaded_rss: int | None, *, clean_peak: bool
) -> Memory:
    """Return what the process uses now, with what was noted before."""
    resident = memory.resident(root)
    return Memory(
        peak_rss_bytes=memory.peak_rss_bytes(root),
        loaded_rss_bytes=loaded_rss,
        kv_cache_bytes=kv_bytes,
        clean_peak=clean_peak,
        pss_bytes=resident.pss_bytes,
        anonymous_bytes=resident.anonymous_bytes,
        file_bytes=resident.file_bytes,
        minor_faults=faults.minor,
        major_faults=faults.major,
    )


def _kernels(bundle: OpenedBundle) -> Mapping[str, str]:
    """Return whose kernels run the operators of ours, where the graph has any."""
    if OPERATORS + OURS not in bundle.manifest.requires:
        return {}
    return {"kernels": __version__ if bundle.kernels else "onnxruntime's alone"}


def _boundary(timer: StageTimer, clock: Clock) -> tuple[int, ...]:
    """Return what one boundary costs, in nanoseconds: the mean of each of some rows of them."""
    costs = []
    for _ in range(BOUNDARY_SAMPLES):
        timer.start()
        since = clock()
        for _ in range(BOUNDARIES):
            timer.lap("boundary")
        costs.append((clock() - since) // BOUNDARIES)
    timer.start()
    return tuple(costs)


class Run:
    """A loaded model under the workload.

    Attributes:
        samples: What the stages of each repetition took.
        start_ns: When each repetition that counts began, on the clock.
        depths: Decode at the plan's depths.
        faults: Page faults of the workload, warm-ups included.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        model: LanguageModel,
        timer: StageTimer,
        clock: Clock,
        plan: Plan,
        progress: Progress,
    ) -> None:
        self.samples = Samples(timer.take())
        self.start_ns: list[int] = []
        self.depths: list[Depth] = []
        self.faults = memory.Faults(0, 0)
        self._tokenizer = tokenizer
        self._model = model
        self._timer = timer
        self._clock = clock
        self._plan = plan
        self._progress = progress
        self._prompt = bench_prompt.of_length(tokenizer, plan.prompt_tokens)

    def workload(self, pace: Pace) -> None:
        """Run the workload as often as the pace says."""
        plan, decode_ns = self._plan, list[int]()
        before = memory.faults()
        least = plan.warmup + plan.least_repetitions
        while pace(decode_ns):
            done = len(decode_ns)
            self._progress("measuring", done, max(least, done + 1))
            started = self._clock()
            output = _repetition(
                self._tokenizer, self._model, self._prompt, plan.output_tokens, self._timer
            )
            laps = self._timer.take()
            decode_ns.append(sum(laps["decode"].step_ns))
            self.samples.add(laps, output, warmup=done < plan.warmup)
            if done >= plan.warmup:
                self.start_ns.append(started)
        after = memory.faults()
        self.faults = memory.Faults(after.minor - before.minor, after.major - before.major)
        if not self.samples.outputs:
            raise UsageError("no repetition was run that counts: let it run longer")

    def depth(self, depth: int) -> None:
        """Measure decode steps that begin after ``depth`` tokens in the cache."""
        plan, model = self._plan, self._model
        steps = plan.output_tokens - 1
        ids = bench_prompt.ids(self._tokenizer, depth + steps)
        model.reset()
        if depth:
            self._progress(f"filling the cache with {depth} tokens", 0, 1)
            model.prefill(ids[:depth])
        laps: list[Laps] = []
        more = until_precise(plan, self._clock)
        while more([sum(lap.step_ns) for lap in laps]):
            self._progress(f"measuring at depth {depth}", len(laps), plan.least_repetitions)
            model.reset(depth)
            self._timer.start()
            for token in ids[depth:]:
                model.step(token)
                self._timer.lap("decode")
            laps.append(self._timer.take()["decode"])
        kept, warmups = laps[plan.warmup :], laps[: plan.warmup]
        self.depths.append(Depth(depth, stage_samples("decode", steps, kept, warmups, steps=True)))

    def described(self) -> Workload:
        """Return the record of what was run."""
        plan = self._plan
        return Workload(
            prompt_tokens=plan.prompt_tokens,
            output_tokens=plan.output_tokens,
            context_tokens=plan.used_context,
            threads=plan.used_threads,
            warmup=plan.warmup,
            repetitions=len(self.samples.outputs),
            prompt_sha256=hashlib.sha256(self._prompt.encode()).hexdigest(),
        )


def _repetition(
    tokenizer: tokenizers.Tokenizer,
    model: LanguageModel,
    prompt: str,
    output_tokens: int,
    timer: StageTimer,
) -> list[int]:
    """Run the workload once, every boundary timed; return the output ids."""
    sampler = Sampler(GREEDY)
    model.reset()
    timer.start()
    ids = tokenizer.encode(prompt).ids
    timer.lap("tokenize")
    logits = model.prefill(ids)
    timer.lap("prefill")
    output = [sampler.choose(logits)]
    timer.lap("sample")
    for _ in range(output_tokens - 1):
        logits = model.step(output[-1])
        timer.lap("decode")
        output.append(sampler.choose(logits))
        timer.lap("sample")
    tokenizer.decode(output)
    timer.lap("detokenize")
    return output


class Samples:
    """Collects the laps of each repetition, warm-ups apart."""

    def __init__(self, load: dict[str, Laps]) -> None:
        self._kept: dict[str, list[Laps]] = {name: [laps] for name, laps in load.items()}
        self._warmups: defaultdict[str, list[Laps]] = defaultdict(list)
        self.outputs: list[str] = []

    def add(self, laps: dict[str, Laps], output: list[int], *, warmup: bool) -> None:
        """Add one repetition and the digest of what it produced."""
        for stage, lap in laps.items():
            into = self._warmups[stage] if warmup else self._kept.setdefault(stage, [])
            into.append(lap)
        if not warmup:
            self.outputs.append(hashlib.sha256(json.dumps(output).encode()).hexdigest())

    def stages(self, plan: Plan) -> tuple[StageSamples, ...]:
        """Return the record of every stage that ran, in order."""
        tokens = {
            "tokenize": plan.prompt_tokens,
            "prefill": plan.prompt_tokens,
            "decode": plan.output_tokens - 1,
            "sample": plan.output_tokens,
            "detokenize": plan.output_tokens,
        }
        return tuple(
            self._stage(stage, tokens.get(stage.name, 0))
            for stage in STAGES
            if stage.name in self._kept
        )

    def _stage(self, stage: Stage, tokens: int) -> StageSamples:
        kept, warmups = self._kept[stage.name], self._warmups[stage.name]
        return stage_samples(stage.name, tokens, kept, warmups, steps=stage.per_token)


def stage_samples(
    stage: str,
    tokens: int,
    kept: Sequence[Laps],
    warmups: Sequence[Laps] = (),
    *,
    steps: bool = False,
) -> StageSamples:
    """Return the record of a stage from its laps, one for each repetition.

    Args:
        stage: Its name.
        tokens: Tokens that it handles in one repetition.
        kept: Of the repetitions that count, at least one.
        warmups: Of those that do not.
        steps: Keep the time of every step.
    """
    return StageSamples(
        stage=stage,
        tokens=tokens,
        wall_ns=tuple(sum(lap.step_ns) for lap in kept),
        warmup_wall_ns=tuple(sum(lap.step_ns) for lap in warmups),
        step_ns=tuple(tuple(lap.step_ns) for lap in kept) if steps else (),
        counters={name: tuple(lap.counts[name] for lap in kept) for name in kept[0].counts},
    )


def _facts(manifest: BundleManifest) -> BundleFacts:
    return BundleFacts(
        name=manifest.model.name,
        digest=manifest.digest,
        bytes=sum(entry.bytes for entry in manifest.files),
        quality=manifest.quality,
    )
