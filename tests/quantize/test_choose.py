"""Kernels chosen by cost, and what gives way when they lose too much."""

from pathlib import Path

import onnx_ir as ir
import pytest

from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.quantize.choose import (
    BLOCKS_4,
    BLOCKS_8,
    CHOICES,
    KERNELS,
    ROWS_8,
    Workload,
    choose,
    plans,
)
from edgellm.quantize.costs import Costs, key
from edgellm.quantize.scheme import FLOAT, SCHEMES, Kernel

SIZES = {"qkv": (32, 64), "output": (32, 32), "gate_up": (32, 128), "down": (64, 32)}


@pytest.fixture
def graph(tiny_stage: Path) -> ir.Graph:
    return load_graph(open_stage(tiny_stage)).graph


def costs(decode: dict[Kernel, float], prefill: dict[Kernel, float]) -> Costs:
    """Build a table in which a kernel costs so much a multiply-accumulate."""
    sizes = [*SIZES.values(), (32, 258)]
    return Costs(
        {},
        {
            "core": {
                str(kernel): {
                    key(i, o, rows): round(i * o * rows * (each[kernel]))
                    for i, o in sizes
                    for rows, each in ((1, decode), (64, prefill))
                }
                for kernel in KERNELS
            }
        },
    )


DECODE = {BLOCKS_4: 4.0, ROWS_8: 2.0, BLOCKS_8: 1.0, FLOAT: 3.0}
PREFILL = {BLOCKS_4: 4.0, ROWS_8: 1.0, BLOCKS_8: 2.0, FLOAT: 3.0}


@pytest.mark.parametrize(
    ("workload", "layers"), [(Workload(64, 1), ROWS_8), (Workload(1, 64), BLOCKS_8)]
)
def test_the_workload_decides_between_kernels_for_prompts_and_for_tokens(
    graph: ir.Graph, workload: Workload, layers: Kernel
) -> None:
    plan = choose(graph, "core", CHOICES["auto"], workload, costs(DECODE, PREFILL))

    chosen = dict(zip((group.name for group in plan.groups), plan.kernels, strict=True))
    assert chosen == {
        "attention.qkv": layers,
        "attention.output": layers,
        "feed_forward.gate_up": layers,
        "feed_forward.down": layers,
        "head": BLOCKS_8,  # it sees one token of a prompt
    }


def test_the_predicted_cost_is_that_of_all_matmuls(graph: ir.Graph) -> None:
    plan = choose(graph, "core", (ROWS_8,), Workload(128, 1), costs(DECODE, PREFILL))

    layers = 2 * sum(i * o for i, o in SIZES.values())
    assert plan.cost.decode == 2 * layers + 32 * 258
    assert plan.cost.prefill == 128 * layers + 32 * 258


def test_4_bits_leave_the_head_8(graph: ir.Graph) -> None:
    plan = choose(graph, "core", CHOICES["int4"], None, costs(DECODE, PREFILL))

    scheme = plan.scheme(SCHEMES["int4"])
    assert scheme.kernel("layers.0.attention", "layers.0.attention.qkv") == BLOCKS_4
    assert scheme.kernel("head", "head.logits") == BLOCKS_8


def test_what_loses_most_for_its_cost_gives_way_first(graph: ir.Graph) -> None:
    first = choose(graph, "core", (ROWS_8,), None, costs(PREFILL, PREFILL))
    names = [name for group in first.groups for name in group.matmuls]
    asked = []

    def losses() -> dict[str, float]:
        asked.append(1)
        return {name: 1.0 if name.endswith("down") else 0.01 for name in names}

    tried = plans(first, losses)
    assert next(tried) == first
    assert not asked  # measuring what a layer loses takes a run of the model
    second = next(tried)
    changed = [
        g.name
        for g, a, b in zip(first.groups, first.kernels, second.kernels, strict=True)
        if a != b
    ]
    assert changed == ["feed_forward.down"]
    assert second.kernels[3] == BLOCKS_8  # the cheapest of those that are more exact


def test_in_the_end_everything_is_in_float(graph: ir.Graph) -> None:
    first = choose(graph, "core", CHOICES["auto"], None, costs(DECODE, PREFILL))
    names = [name for group in first.groups for name in group.matmuls]

    *_, last = plans(first, lambda: dict.fromkeys(names, 1.0))

    assert set(last.kernels) == {FLOAT}
