"""Makes the golden set of a bundle: what it answers, and how far other machines may be from that.

The tolerance is measured here, from what honest kernels do. Where a graph rounds its activations to
8 bit, a difference in the last bit of a sum lets some of them fall on the other side, and every
layer passes that on: so much the same tokens differ, given one by one. On a processor without 8-bit
dot products onnxruntime does not round them at all: what that changes is measured stage by stage.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel
from edgellm.graph.stage_folder import StageFolder, versions
from edgellm.measure.isa import LEVELS, this_isa
from edgellm.records.golden import Golden, GoldenSet, Limits
from edgellm.records.manifest import MODEL_FILE, WEIGHTS_FILE
from edgellm.records.parity import PromptParity
from edgellm.records.progress import Progress
from edgellm.runner import golden
from edgellm.runner.parity import NOISE
from edgellm.runner.probe import Stages, Values, distance, stored
from edgellm.runner.session import Engine, Session
from edgellm.runner.weights import WeightsFile

GOLDEN_TOKENS = 16
STAGE_TOKENS = 4
LAST_BITS = 1e-6  # what other sums of float32 make of a value, as a share of it
ACCURACY = "accuracy_level"  # of MatMulNBits: 0 keeps activations in float32, 4 rounds them

# Emulated ARM cores were up to 1.7 times the noise away in the mean and 2.2 at one position.
MEAN_MARGIN, MAX_MARGIN = 4.0, 6.0
LEAST_MEAN, LEAST_MAX = 1e-5, 1e-4  # nats; float32 alone gave 1e-11
# Of one stage: who rounds activations as this machine does is far closer than who does not.
STAGE_MARGIN: Mapping[str, float] = {"aarch64+dotprod": 0.5}
OTHER_STAGE_MARGIN = 1.5


@dataclass(frozen=True, slots=True)
class Made:
    """A golden set, and the arrays of its file of stages; those are none where it has no stages."""

    goldens: GoldenSet
    stages: Mapping[str, NDArray[np.floating]]


def make_golden(
    stage: StageFolder, graph: ir.Model, prompts: Sequence[Sequence[int]], progress: Progress
) -> Made:
    """Record what a stage folder answers to prompts, and measure the noise of that.

    Args:
        stage: An opened folder.
        graph: Its graph.
        prompts: Token ids of each prompt.
        progress: Told about each prompt.

    Raises:
        EdgellmError: The model's logits are not numbers.
    """
    longest = max(map(len, prompts)) + GOLDEN_TOKENS
    session = Session(stage.path / MODEL_FILE, stage.record.model, context=longest)
    done: list[Golden] = []
    for ids in prompts:
        progress("computing golden tokens", len(done), len(prompts))
        done.append(golden.record(session, ids, GOLDEN_TOKENS))
    machine = f"{platform.machine()}, onnxruntime {versions('onnxruntime')['onnxruntime']}"
    recorded = GoldenSet(machine, tuple(done))
    progress("measuring what rounding changes", 0, 1)
    noise = {"token by token": _spread(golden.replay_all(session, recorded, token_by_token=True))}
    del session  # its weights, before each stage has its own
    stage_ids = tuple(prompts[0][:STAGE_TOKENS])
    arrays = _stages(stage, stage_ids, keep_activations(graph))
    goldens = GoldenSet(
        machine=machine,
        prompts=tuple(done),
        isa=this_isa(),
        noise=noise,
        limits=_limits(noise),
        stage_ids=stage_ids if arrays else (),
    )
    return Made(goldens, arrays)


def write_stages(path: Path, stages: Mapping[str, NDArray[np.floating]]) -> None:
    """Write the arrays of :attr:`Made.stages`; equal arrays give equal bytes."""
    np.savez(path, allow_pickle=False, **dict(stages))


def _spread(replays: Sequence[PromptParity]) -> tuple[float, ...]:
    """Return mean and maximum of the KL divergence over all positions."""
    found = [value for replay in replays for value in replay.kl if value is not None]
    return sum(found) / len(found), max(found)


def _limits(noise: Mapping[str, tuple[float, ...]]) -> dict[str, Limits]:
    """Return what each arithmetic may differ by."""
    mean, most = (max(column) for column in zip(*noise.values(), strict=True))
    names = [f"{machine}+{level}" for machine, levels in LEVELS.items() for level in levels]
    return {
        name: Limits(
            max(LEAST_MEAN, MEAN_MARGIN * mean),
            max(LEAST_MAX, MAX_MARGIN * most),
            STAGE_MARGIN.get(name, OTHER_STAGE_MARGIN),
        )
        for name in sorted([*LEVELS, *names])
    }


def keep_activations(graph: ir.Model) -> ir.Model | None:
    """Return the graph with no activation rounded by MatMulNBits; None where none is."""
    changed = graph.clone()
    bodies = [changed.graph, *(function.graph for function in changed.functions.values())]
    nodes = [n for body in bodies for n in body if n.attributes.get_int(ACCURACY, 0)]
    for node in nodes:
        node.attributes[ACCURACY] = ir.AttrInt64(ACCURACY, 0)
    return changed if nodes else None


def serialized(graph: ir.Model) -> bytes:
    """Return a graph as ``model.onnx`` holds it; its external data stays where it is."""
    data: bytes = ir.to_proto(graph).SerializeToString()
    return data


def _stages(
    stage: StageFolder, ids: Sequence[int], floats: ir.Model | None
) -> dict[str, NDArray[np.floating]]:
    """Return what each stage gives, and its noise; nothing where the graph carries no stages."""
    weights = WeightsFile(stage.path / WEIGHTS_FILE)
    model = stage.record.model
    plain = Stages((stage.path / MODEL_FILE).read_bytes(), model, weights, Engine())
    try:
        arrays = {name: stored(value) for name, value in plain.run(ids)}
    except UnsupportedModel:
        return {}
    given = {name: value.astype(np.float32) for name, value in arrays.items()}
    others = [plain.run(ids, _in_last_bits(given))]
    if floats:
        others.append(Stages(serialized(floats), model, weights, Engine()).run(ids, given))
    noise = {name: np.zeros((2, len(value)), np.float32) for name, value in given.items()}
    for values in others:
        for name, value in values:
            found = distance(value, given[name])
            noise[name] = np.maximum(noise[name], [found.whole, found.channel])
    return {**arrays, **{name + NOISE: value for name, value in noise.items()}}


def _in_last_bits(given: Values) -> Values:
    """Return values changed by about what another order of their sums would change."""
    rng = np.random.default_rng(0)
    return {
        name: value * (1 + LAST_BITS * rng.uniform(-1, 1, value.shape).astype(np.float32))
        for name, value in given.items()
    }
