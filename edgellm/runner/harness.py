"""Runs a workload on a bundle, stage by stage, and reports what each repetition took."""

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
import tokenizers

from edgellm import __version__
from edgellm.errors import UsageError
from edgellm.measure import counters, environment, memory
from edgellm.measure.clock import Clock, Laps, StageTimer, monotonic
from edgellm.records.machine import Memory
from edgellm.records.manifest import BundleManifest
from edgellm.records.progress import Progress, silent
from edgellm.records.report import BundleFacts, Report, Workload
from edgellm.records.samples import StageSamples
from edgellm.records.units import STAGES, Stage
from edgellm.runner import bench_prompt, load
from edgellm.runner.generate import LanguageModel
from edgellm.runner.sampling import GREEDY, Sampler

VERSIONS = {  # what decides speed beside the bundle
    "edgellm": __version__,
    "numpy": np.__version__,
    "onnxruntime": ort.__version__,
    "tokenizers": tokenizers.__version__,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a bench run.

    Attributes:
        prompt_tokens: Length of the prompt, at least 1.
        output_tokens: Tokens to produce, at least 2, so that there is a decode step.
        repetitions: How many times the workload counts, at least 1.
        warmup: How many times it runs before, kept apart.
        threads: Threads of the session; 0 for one per core that this process may use.
        context: Size of the key-value cache in tokens; what the workload needs where None.

    Raises:
        UsageError: A value is out of range.
    """

    prompt_tokens: int = 64
    output_tokens: int = 32
    repetitions: int = 5
    warmup: int = 1
    threads: int = 0
    context: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, "prompt tokens", self.prompt_tokens)
        _at_least(2, "output tokens", self.output_tokens)
        _at_least(1, "repetitions", self.repetitions)
        _at_least(0, "warm-up repetitions", self.warmup)
        _at_least(0, "threads", self.threads)
        if self.context is not None:
            _at_least(self.prompt_tokens + self.output_tokens, "context", self.context)

    @property
    def used_threads(self) -> int:
        """Threads of the session, resolved."""
        return self.threads or len(os.sched_getaffinity(0))

    @property
    def used_context(self) -> int:
        """Size of the key-value cache in tokens, resolved."""
        return self.context or self.prompt_tokens + self.output_tokens


def _at_least(least: int, what: str, value: int) -> None:
    if value < least:
        raise UsageError(f"{what} must be at least {least}, not {value}")


class OpenedBundle(Protocol):
    """What the harness needs of :class:`edgellm.runner.load.Bundle`."""

    @property
    def manifest(self) -> BundleManifest:
        """What the bundle says of itself."""

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """Text to token ids and back."""

    def session(self, *, threads: int, context: int | None) -> LanguageModel:
        """Open the model."""


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
    progress: Progress = silent,
) -> Report:
    """Load a bundle once and run the workload; nothing is kept of an interrupted run.

    The counters are opened before the session's threads exist, so that they are counted.

    Args:
        path: The bundle.
        plan: How much to run.
        machine: Where time and counts come from.
        open_bundle: Opens ``path``.
        progress: Told after each repetition.

    Returns:
        The raw samples with the machine's state before and after.

    Raises:
        UsageError: The bundle does not exist or the workload does not fit its context.
        BundleInvalid: The bundle is damaged.
    """
    started, before = datetime.now(UTC), environment.state(machine.root)
    clean_peak = memory.reset_peak(machine.root)
    with machine.open_counters() as opened:
        timer = StageTimer(machine.clock, opened.counters)
        timer.start()
        bundle = open_bundle(path)
        model = bundle.session(threads=plan.used_threads, context=plan.used_context)
        timer.lap("load")
        loaded_rss = memory.rss_bytes(machine.root)
        samples = Samples(timer.take())
        prompt = bench_prompt.of_length(bundle.tokenizer, plan.prompt_tokens)
        for done in range(plan.warmup + plan.repetitions):
            progress("measuring", done, plan.warmup + plan.repetitions)
            output = _repetition(bundle.tokenizer, model, prompt, plan.output_tokens, timer)
            samples.add(timer.take(), output, warmup=done < plan.warmup)
    kv_bytes = bundle.manifest.model.kv.bytes(plan.used_context)
    used = Memory(memory.peak_rss_bytes(machine.root), loaded_rss, kv_bytes, clean_peak=clean_peak)
    after = environment.state(machine.root)
    facts, gaps = environment.environment(before, after, VERSIONS, machine.root)
    return Report(
        tool_version=__version__,
        started_utc=started.isoformat(timespec="seconds"),
        bundle=_facts(bundle.manifest),
        workload=_workload(plan, prompt),
        environment=facts,
        counters=opened.counters.infos,
        stages=samples.stages(plan),
        memory=used,
        output_sha256=tuple(samples.outputs),
        unavailable=(*opened.missing, *gaps),
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
        kept = self._kept[stage.name]
        return StageSamples(
            stage=stage.name,
            tokens=tokens,
            wall_ns=tuple(sum(lap.step_ns) for lap in kept),
            warmup_wall_ns=tuple(sum(lap.step_ns) for lap in self._warmups[stage.name]),
            step_ns=tuple(tuple(lap.step_ns) for lap in kept) if stage.per_token else (),
            counters={name: tuple(lap.counts[name] for lap in kept) for name in kept[0].counts},
        )


def _facts(manifest: BundleManifest) -> BundleFacts:
    return BundleFacts(
        name=manifest.model.name,
        digest=manifest.digest,
        bytes=sum(entry.bytes for entry in manifest.files),
        quality=manifest.quality,
    )


def _workload(plan: Plan, prompt: str) -> Workload:
    return Workload(
        prompt_tokens=plan.prompt_tokens,
        output_tokens=plan.output_tokens,
        context_tokens=plan.used_context,
        threads=plan.used_threads,
        warmup=plan.warmup,
        repetitions=plan.repetitions,
        prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
    )
