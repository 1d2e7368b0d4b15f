"""The staged view: the graph cut at its stage boundaries, clock and counters read at each.

Every part is a session of its own on the same buffers, so nothing is copied between them, and all
share one pool of threads and one arena. The uncut graph runs in turn with them, on the same tokens,
so that the sum of the stages can be held against the whole. What the cut loses: fusion across it
(there is none in the graphs that edgellm writes), and the time of one more session call per stage.
A call costs more among others than in a row, because their work has taken its data out of the
cache; so it is measured where it happens: by a part that does nothing after each stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgellm.measure import memory
from edgellm.measure.clock import Laps, StageTimer
from edgellm.records import stages
from edgellm.records.manifest import MODEL_FILE, WEIGHTS_FILE, ModelFacts
from edgellm.records.progress import Progress
from edgellm.records.samples import StageSamples
from edgellm.records.views import Phase, StagedPhase, StagedView
from edgellm.runner import bench_prompt, pages
from edgellm.runner.cut import Part, cut, idle_part
from edgellm.runner.generate import LanguageModel
from edgellm.runner.harness import Machine, stage_samples
from edgellm.runner.load import Bundle
from edgellm.runner.plan import Plan, until_precise
from edgellm.runner.routes import Logits, cache_values
from edgellm.runner.session import PREFILL_CHUNK_TOKENS, Engine, open_session
from edgellm.runner.weights import WeightsFile

DECODE_STEPS = 8  # of one repetition: long enough for the clock, short enough for many repetitions
CUT = " cut"
ONE = np.zeros(1, np.float32)
ROOM = 2.5  # both graphs are opened where this many times the weights are free

Lap = Callable[[str], None]
Calls = Sequence[Sequence[int]]
Step = tuple[str, ort.InferenceSession, ort.IOBinding]


class CutModel:
    """A graph of the fused route as one session per stage.

    Args:
        parts: The stages.
        model: The model's facts.
        weights: Where the external data lies.
        engine: How onnxruntime runs all sessions together.
        context: Capacity of the cache in tokens.

    Attributes:
        length: Tokens in the cache.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        model: ModelFacts,
        weights: WeightsFile | None,
        *,
        engine: Engine,
        context: int,
    ) -> None:
        self.length = 0
        self._sessions = [(part, open_session(part.model, engine, weights)) for part in parts]
        self._idle = [_idle(part, engine) for part in parts]
        self._seqlens = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._first = np.zeros(1, np.int64)
        self._fixed = {
            "seqlens_k": ort.OrtValue.ortvalue_from_numpy(self._seqlens),
            "total_sequence_length": ort.OrtValue.ortvalue_from_numpy(self._total),
            "logits_from": ort.OrtValue.ortvalue_from_numpy(self._first),
        }
        for name, value in cache_values(model.kv, context, 1).items():
            self._fixed |= {f"past_key_values.{name}": value, f"present.{name}": value}
        self._bound: dict[int, tuple[NDArray[np.int64], list[Step], ort.OrtValue]] = {}

    def run(self, ids: Sequence[int], lap: Lap, *, idle: bool = False) -> Logits:
        """Run one call of the model.

        Args:
            ids: Its tokens.
            lap: Told the stage's name after each stage.
            idle: Run a part that does nothing after each stage; its name ends in ``CUT``.

        Returns:
            The logits of the last position, ``(vocab,)``, valid until the next call.
        """
        self.bind(len(ids))
        array, steps, logits = self._bound[len(ids)]
        array[0] = ids
        if idle:
            steps = [step for pair in zip(steps, self._idle, strict=True) for step in pair]
        for stage, session, binding in steps:
            session.run_with_iobinding(binding)
            lap(stage)
        self.length += len(ids)
        last: Logits = logits.numpy()[0, -1]
        return last

    def bind(self, count: int) -> None:
        """Get ready for a call of ``count`` tokens, which takes long the first time."""
        self._seqlens[:] = self.length + count - 1
        self._total[...] = self.length + count
        self._first[0] = count - 1
        if count not in self._bound:
            self._bound[count] = self._bind(np.zeros((1, count), np.int64))

    def _bind(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Step], ort.OrtValue]:
        """Bind every part for calls of so many tokens.

        A first run lets onnxruntime make what crosses the boundaries, whose shapes no record says.
        """
        values = {**self._fixed, "input_ids": ort.OrtValue.ortvalue_from_numpy(ids)}
        places: dict[tuple[str, int], ort.OrtValue] = {}
        steps = []
        for part, session in self._sessions:
            made = [name for name in part.outputs if name not in values]
            first = _binding(session, part, values, fresh=made)
            session.run_with_iobinding(first)
            results = dict(zip(part.outputs, first.get_outputs(), strict=True))
            for name in made:
                values[name] = places.setdefault(_place(name), results[name])
            # The first run's results may lie elsewhere than their place: it runs once more there.
            again = _binding(session, part, values)
            session.run_with_iobinding(again)
            steps.append((part.stage, session, again))
        return ids, steps, values["logits"]


def _place(name: str) -> tuple[str, int]:
    """Return where a value may lie: what one layer makes is used up when the next has run.

    So two layers' buffers serve all, and stay in the cache as those of the whole graph do.
    """
    layer = stages.layer_of(name)
    return (name, 0) if layer is None else (stages.NUMBERED.sub("", name), layer % 2)


def _idle(part: Part, engine: Engine) -> Step:
    """Return a part that does nothing in place of ``part``, ready to run."""
    session = open_session(idle_part(len(part.inputs), len(part.outputs)), engine)
    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(ONE))
    for value in session.get_outputs():
        made = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(ONE))
        binding.bind_ortvalue_output(value.name, made)
    session.run_with_iobinding(binding)
    return part.stage + CUT, session, binding


def _binding(
    session: ort.InferenceSession,
    part: Part,
    values: dict[str, ort.OrtValue],
    fresh: Sequence[str] = (),
) -> ort.IOBinding:
    binding = session.io_binding()
    for name in part.inputs:
        binding.bind_ortvalue_input(name, values[name])
    for name in part.outputs:
        if name in fresh:
            binding.bind_output(name, "cpu")
        else:
            binding.bind_ortvalue_output(name, values[name])
    return binding


def measure_stages(bundle: Bundle, plan: Plan, machine: Machine, progress: Progress) -> StagedView:
    """Run prefill, and decode at each depth, stage by stage and in turn with the whole graph.

    Args:
        bundle: An opened bundle of the fused route.
        plan: Prompt, threads, depths; precision and time limit of each phase.
        machine: Where time and counts come from.
        progress: Told before each phase.

    Raises:
        UnsupportedModel: The graph carries no stages.
        UsageError: This process shares another number of threads among its sessions.
    """
    graph, model = bundle.files[MODEL_FILE].read(), bundle.manifest.model
    data = bundle.files.get(WEIGHTS_FILE)
    parts, threads, context = cut(graph), plan.used_threads, plan.used_context
    room = memory.status_bytes("MemAvailable", machine.root, "proc/meminfo")
    both = room is None or data is None or room > ROOM * data.size
    engine = Engine(threads, shared=True, kernels=bundle.kernels)
    with machine.open_counters() as opened:
        graphs = _Graphs(
            CutModel(parts, model, bundle.weights, engine=engine, context=context),
            bundle.session(threads=threads, context=context, shared=True) if both else None,
        )
        pages.collapse(machine.root)  # both graphs alike, or their pages decide
        ids = bench_prompt.ids(bundle.tokenizer, context - 1)
        run = _Measurement(graphs, StageTimer(machine.clock, opened.counters), machine, plan, ids)
        depths = sorted({plan.prompt_tokens, *plan.depths})
        progress("measuring stages", 0, 1 + len(depths))
        phases = [run.phase("prefill", 0, plan.prompt_tokens)]
        for done, depth in enumerate(depths, 1):
            progress("measuring stages", done, 1 + len(depths))
            phases.append(run.phase("decode", depth, DECODE_STEPS))
    return StagedView(tuple(phases), run.difference)


@dataclass(frozen=True, slots=True)
class _Graphs:
    """The cut graph, and the whole one where memory allows both."""

    cut: CutModel
    whole: LanguageModel | None


class _Measurement:
    """Measures phases; keeps the largest difference between the logits of the two graphs."""

    def __init__(
        self, graphs: _Graphs, timer: StageTimer, machine: Machine, plan: Plan, ids: Sequence[int]
    ) -> None:
        self.difference: float | None = None
        self._expected: Logits | None = None
        self._graphs = graphs
        self._timer = timer
        self._clock = machine.clock
        self._plan = plan
        self._ids = ids

    def phase(self, phase: Phase, depth: int, tokens: int) -> StagedPhase:
        """Measure calls on so many tokens after ``depth`` others, until their time is known."""
        calls = _calls(phase, self._ids[depth : depth + tokens])
        self._fill(depth)
        for ids in calls:
            self._graphs.cut.bind(len(ids))
        whole: list[int] = []
        laps: list[dict[str, Laps]] = []
        idle: list[dict[str, Laps]] = []
        sums: list[int] = []
        more = until_precise(self._plan, self._clock)
        while more(sums):
            if self._graphs.whole:
                whole.append(self._whole(depth, calls))
            laps.append(self._cut(depth, calls))
            idle.append(self._cut(depth, calls, idle=True))
            sums.append(sum(sum(lap.step_ns) for lap in laps[-1].values()))
        tokens = sum(map(len, calls))

        def samples(stage: str, laps: Sequence[dict[str, Laps]]) -> StageSamples:
            of = [repetition[stage] for repetition in laps]
            return stage_samples(stage, tokens, of[self._plan.warmup :], of[: self._plan.warmup])

        return StagedPhase(
            phase,
            depth,
            len(calls),
            len(calls[0]),
            stages=tuple(samples(stage, laps) for stage in laps[0]),
            cuts=tuple(samples(stage + CUT, idle) for stage in laps[0]),
            whole_ns=tuple(whole[self._plan.warmup :]),
        )

    def _fill(self, depth: int) -> None:
        """Put ``depth`` tokens into both caches."""
        calls = _calls("prefill", self._ids[:depth])
        if calls:
            if self._graphs.whole:
                self._whole(0, calls)
            self._cut(0, calls)

    def _whole(self, start: int, calls: Calls) -> int:
        """Run calls on the whole graph after ``start`` tokens; return their time."""
        model = self._graphs.whole
        assert model is not None
        model.reset(start)
        since = self._clock()
        for ids in calls:
            logits = model.step(ids[0]) if len(ids) == 1 else model.prefill(ids)
        took = self._clock() - since
        self._expected = logits.copy()
        return took

    def _cut(self, start: int, calls: Calls, *, idle: bool = False) -> dict[str, Laps]:
        """Run calls stage by stage after ``start`` tokens; hold the logits against the whole's."""
        model = self._graphs.cut
        model.length = start
        self._timer.start()
        for ids in calls:
            logits = model.run(ids, self._timer.lap, idle=idle)
        laps = self._timer.take()
        if self._expected is not None:
            apart = float(np.abs(logits - self._expected).max())
            self.difference = max(self.difference or 0.0, apart)
        return laps


def _calls(phase: Phase, ids: Sequence[int]) -> Calls:
    """Return the tokens of each call: a prompt in the chunks of a session, or one by one."""
    size = PREFILL_CHUNK_TOKENS if phase == "prefill" else 1
    return [ids[start : start + size] for start in range(0, len(ids), size)]
