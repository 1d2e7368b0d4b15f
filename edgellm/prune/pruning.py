"""Prune a model: layers first, then the channels of what is left; what stays is refitted."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgellm.calibrate.calibration import Calibration
from edgellm.calibrate.gram import grams
from edgellm.calibrate.observe import Watch, observe
from edgellm.errors import UsageError
from edgellm.graph.inspect import inspect
from edgellm.graph.stage_folder import StageFolder, load_graph, versions
from edgellm.prune.anatomy import Array, check_prunable, data, feed_forward
from edgellm.prune.apply import keep_channels, remove_layers, set_weight
from edgellm.prune.importance import block_influence, channel_importance
from edgellm.prune.plan import (
    ChannelChoice,
    LayerChoice,
    PrunePlan,
    choose_channels,
    choose_layers,
    width_after,
)
from edgellm.prune.refit import Refit, absorb, consecutive, measure_lost, refit
from edgellm.records import codec
from edgellm.records.manifest import WEIGHTS_FILE, ModelFacts, Step
from edgellm.records.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Request:
    """What to remove: a number of layers, a share of the feed-forward channels, or both."""

    layers: int = 0
    ffn: float = 0.0


@dataclass(frozen=True, slots=True)
class RefitError:
    """Relative error of one block's output on the calibration text, before and after its refit."""

    layer: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned model, not yet written.

    Attributes:
        graph: The graph.
        facts: The model's facts.
        plan: What went, and why.
        absorbed: Per block that stands in for removed layers, by its old number: the share of what
            they added to the residual stream that is missing, before (all of it) and after.
        refits: Per block that lost channels.
        parameters_before: Parameters of the source.
        parameters_after: Parameters that are left.
    """

    graph: ir.Model
    facts: ModelFacts
    plan: PrunePlan
    absorbed: tuple[RefitError, ...]
    refits: tuple[RefitError, ...]
    parameters_before: int
    parameters_after: int

    def step(self, source: StageFolder) -> Step:
        """Return the step for the record: the same for a plan that was made and one replayed."""
        return Step(
            action="prune",
            parameters={
                "removed_layers": list(self.plan.removed_layers),
                "feed_forward_widths": [len(choice.kept) for choice in self.plan.channels],
                "calibration": codec.to_json(self.plan.calibration),
                "plan_sha256": hashlib.sha256(codec.dumps(self.plan).encode()).hexdigest(),
            },
            measured={
                "parameters_before": self.parameters_before,
                "parameters_after": self.parameters_after,
                "absorption_errors": codec.to_json(self.absorbed),
                "refit_errors": codec.to_json(self.refits),
            },
            versions=versions("onnxruntime", "onnx-ir", "numpy"),
            input_digest=source.record.digest,
        )


def prune(
    stage: StageFolder,
    request: Request | PrunePlan,
    calibration: Calibration,
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Pruned:
    """Prune the model of a stage folder.

    Args:
        stage: The folder; nothing in it changes.
        request: What to remove, or the plan that says it.
        calibration: The text that decides and refits. A plan takes the one that it was made with.
        threads: As in :class:`~edgellm.runner.session.Session`.
        progress: Told about the runs over the text and the refits.

    Raises:
        UsageError: Nothing would be left or nothing goes, the plan is for another model or
            calibration text, or the model is quantized.
        UnsupportedModel: The graph is not of the fused route.
    """
    graph, facts = load_graph(stage), stage.record.model
    check_prunable(stage, graph)
    if isinstance(request, PrunePlan):
        request.check_fits(stage.record.digest, str(stage.path), calibration.used)
    else:
        _check_leaves_something(request, graph.graph, facts.kv.layers)
    before = inspect(graph, facts).total.parameters
    run = _Run(graph, stage.path / WEIGHTS_FILE, calibration.sequences, threads, progress)
    layers = request.layers if isinstance(request, PrunePlan) else run.layers(facts, request)
    absorbed = run.absorb(facts, [choice.layer for choice in layers if choice.removed])
    facts = _without_layers(graph, facts, layers)
    channels = list(run.channels(facts, request))
    for choice, new in channels:
        keep_channels(graph.graph, choice.layer, choice.kept, new.down)
    return Pruned(
        graph,
        facts,
        PrunePlan(
            facts.name, stage.record.digest, calibration.used, layers, tuple(c for c, _ in channels)
        ),
        absorbed,
        tuple(RefitError(c.layer, new.error_before, new.error_after) for c, new in channels),
        before,
        inspect(graph, facts).total.parameters,
    )


def _check_leaves_something(request: Request, graph: ir.Graph, layers: int) -> None:
    """Refuse impossible numbers before the calibration text runs for them."""
    if request.layers == 0 and request.ffn == 0:
        raise UsageError("nothing to prune: give --layers, --ffn or --plan")
    if request.layers != 0:
        choose_layers([0.0] * layers, request.layers)
    if request.ffn != 0:
        for layer in range(layers):
            width_after(feed_forward(graph, layer).width, request.ffn)


def _without_layers(
    graph: ir.Model, facts: ModelFacts, choices: Sequence[LayerChoice]
) -> ModelFacts:
    removed = [choice.layer for choice in choices if choice.removed]
    if removed:
        remove_layers(graph.graph, removed, facts.kv.layers)
    kv = dataclasses.replace(facts.kv, layers=facts.kv.layers - len(removed))
    return dataclasses.replace(facts, kv=kv)


@dataclass(frozen=True, slots=True)
class _Run:
    """A graph and the text that runs through it."""

    graph: ir.Model
    weights: Path
    sequences: Sequence[Sequence[int]]
    threads: int
    progress: Progress

    def layers(self, facts: ModelFacts, request: Request) -> tuple[LayerChoice, ...]:
        """Choose which layers go."""
        if request.layers == 0:
            return ()
        streams = self._observe(facts, Watch(streams=range(facts.kv.layers + 1)))
        return choose_layers(block_influence(found for found, _ in streams), request.layers)

    def absorb(self, facts: ModelFacts, removed: Sequence[int]) -> tuple[RefitError, ...]:
        """Refit the block before each run of removed layers to stand in for them.

        Nothing can stand in for layers at the very beginning.
        """
        gaps = [gap for gap in consecutive(removed) if gap.start > 0]
        if not gaps:
            return ()
        blocks = [feed_forward(self.graph.graph, gap.start - 1) for gap in gaps]
        watch = Watch(
            streams=[end for gap in gaps for end in (gap.start, gap.stop)],
            values=[str(block.activations.name) for block in blocks],
        )
        losses = measure_lost(self._observe(facts, watch))
        errors = []
        for gap, block, lost in zip(gaps, blocks, losses, strict=True):
            new = absorb(lost, data(block.down))
            set_weight(block.down, new.down)
            errors.append(RefitError(gap.start - 1, new.error_before, new.error_after))
        return tuple(errors)

    def _observe(
        self, facts: ModelFacts, watch: Watch
    ) -> Iterator[tuple[list[Array], list[Array]]]:
        return observe(
            self.graph,
            facts,
            watch,
            self.sequences,
            self.weights,
            threads=self.threads,
            progress=self.progress,
        )

    def channels(
        self, facts: ModelFacts, request: Request | PrunePlan
    ) -> Iterator[tuple[ChannelChoice, Refit]]:
        """Choose, for each block, which channels stay, and refit its down projection to them."""
        wanted = request.channels if isinstance(request, PrunePlan) else request.ffn
        if not wanted:
            return
        blocks = [feed_forward(self.graph.graph, layer) for layer in range(facts.kv.layers)]
        widths = {str(block.activations.name): block.width for block in blocks}
        seen = grams(functools.partial(self._observe, facts), widths)
        for layer, (block, (_, gram)) in enumerate(zip(blocks, seen, strict=True)):
            self.progress("refitting feed-forward blocks", layer, facts.kv.layers)
            down = data(block.down)
            if isinstance(request, PrunePlan):
                choice = request.channels[layer]
            else:
                choice = choose_channels(layer, channel_importance(gram, down), request.ffn)
            yield choice, refit(gram, down, choice.kept)
