"""What a matmul loses by having its activations in int8."""

import functools
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.calibrate.observe import observe
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.quantize.sensitivity import losses, round_activations
from edgellm.records.manifest import WEIGHTS_FILE


def test_activations_round_to_steps_of_their_row(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 64)).astype(np.float32)
    x[1] *= 1000
    x[2] = 0

    rounded = round_activations(x)

    step = (np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)) / 255
    assert (np.abs(rounded - x).max(1) <= 0.501 * step + 1e-12).all()
    assert (rounded[x == 0] == 0).all()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_layer_with_an_outlier_in_its_input_loses_most(tiny_stage: Path) -> None:
    stage = open_stage(tiny_stage)
    graph = load_graph(stage)
    norm = graph.graph.initializers["layers.1.attention_norm.norm.weight"]
    assert norm.const_value is not None
    gamma = norm.const_value.numpy().copy()
    gamma[3] *= 300
    norm.const_value = ir.tensor(gamma, name=norm.name)
    run = functools.partial(
        observe,
        graph,
        stage.record.model,
        sequences=[list(range(40, 80))],
        weights=tiny_stage / WEIGHTS_FILE,
    )

    found = losses(graph.graph, run)

    assert len(found) == 9
    outlier = found.pop("layers.1.attention.qkv")
    assert outlier > 2 * found["layers.0.attention.qkv"] > 0
