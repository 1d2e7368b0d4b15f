"""Our own kernels on every kind of core, beside the standard operators on this machine."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.bundle.kernels import kernel_libraries
from edgellm.graph.build import GraphBuilder
from edgellm.quantize.apply import quantize
from edgellm.quantize.operators import define_operators
from edgellm.quantize.scheme import SCHEMES

pytestmark = pytest.mark.emulation

# Tokens, inputs, outputs: whole and broken tiles and panels; one and more groups; none that fits.
SIZES = [(1, 576, 960), (4, 576, 960), (9, 1536, 576), (3, 100, 37), (2, 20, 7), (7, 512, 49)]


def write(path, scheme, size, group=None):
    """Write a model of one product, its inputs, and what it should give."""
    tokens, inputs, outputs = size
    rng = np.random.default_rng(inputs)
    weight = rng.normal(0.02, 0.05, (inputs, outputs)).astype(np.float32)
    x = rng.normal(0, 3, (1, tokens, inputs)).astype(np.float32)
    x[0, -1] *= 40
    if tokens > 1:
        x[0, 0] = 0
    builder = GraphBuilder("product")
    taken = builder.input("x", ir.DataType.FLOAT, [1, "tokens", inputs])
    with builder.stage("layers.0.feed_forward"):
        y = builder.one("MatMul", "down", [taken, builder.weight("weight", weight)])
    builder.output(y, "y", ir.DataType.FLOAT, [1, "tokens", outputs])
    model = builder.model()
    changes = {"group_size": group} if group else {}
    quantize(model.graph, dataclasses.replace(SCHEMES[scheme], **changes))
    define_operators(model)
    ir.save(model, path)
    np.savez(path.with_suffix(".npz"), x=x, expected=x.astype(np.float64) @ weight)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("kernels")
    rows = [write(place / f"rows{i}.onnx", "int8-dynamic", s) for i, s in enumerate(SIZES)]
    blocks = [
        write(place / f"blocks{tokens}x{group}.onnx", "int4", (tokens, 512, 49), group)
        for tokens in (1, 6)
        for group in (32, 64, 128)
    ]
    return rows, blocks


@pytest.fixture(scope="module")
def library():
    (path,) = kernel_libraries().values()
    return path


def test_rows_are_equal_to_the_bit(core, models, operators, library):
    rows, _ = models
    here, there = operators(None, *rows), operators(core, "--kernels", library, *rows)

    for path, mine, theirs in zip(rows, here, there, strict=True):
        assert theirs["sha256"] == mine["sha256"], f"{core}: {path.name}"


def test_blocks_are_as_near_to_the_truth_as_the_standard_operator(core, models, operators, library):
    _, blocks = models
    here, there = operators(None, *blocks), operators(core, "--kernels", library, *blocks)

    for path, mine, theirs in zip(blocks, here, there, strict=True):
        assert theirs["error"] < 1.02 * mine["error"], f"{core}: {path.name}"


def test_our_kernels_need_fewer_instructions(core, models, operators, library):
    model = models[0][1]
    (standard,), (ours,) = operators(core, model), operators(core, "--kernels", library, model)

    assert ours["instructions"] < 0.9 * standard["instructions"], core
