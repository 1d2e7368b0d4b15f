"""Damaged weights and kernels on one side, honest rounding on the other."""

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.bundle import golden as make
from edgellm.bundle.build import build_bundle
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.records.golden import Limits
from edgellm.records.parity import Parity, PromptParity, StageParity
from edgellm.runner import parity
from edgellm.runner.load import open_bundle
from edgellm.runner.parity import judge, measure_parity
from edgellm.runner.probe import Stages
from edgellm.runner.session import Engine

BLOCKS = {"group_size": 16, "head_group_size": 16}
DOTPROD, PLAIN = "aarch64+dotprod", "aarch64"


class Made:
    """A quantized stage folder, its bundle, and its graph to damage."""

    def __init__(self, stage, scheme, folder, **options):
        self.path = folder / "stage"
        quantize_stage(stage, self.path, choose_scheme(scheme, options), calibrate=False)
        build_bundle(self.path, folder / "bundle")
        self.bundle = open_bundle(folder / "bundle")
        self.goldens = self.bundle.golden()
        self.arrays = parity.read_stages(self.bundle)

    def graph(self):
        return load_graph(open_stage(self.path))

    def judged(self, graph, isa, *, threads=1):
        """Return what each stage of a graph, whole in itself, is found to be."""
        for value in graph.graph.initializers.values():
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
        data = make.serialized(graph)
        stages = Stages(data, self.bundle.manifest.model, None, Engine(threads))
        factor = self.goldens.limits[isa].stage_noise
        return [
            judge(name, value, self.arrays, factor)
            for name, value in stages.run(self.goldens.stage_ids, self.arrays)
        ]


@pytest.fixture(scope="module")
def int8(tiny_stage, tmp_path_factory):
    return Made(tiny_stage, "int8", tmp_path_factory.mktemp("int8"), **BLOCKS)


@pytest.fixture(scope="module")
def fp32(tiny_stage, tmp_path_factory):
    return Made(tiny_stage, "fp32", tmp_path_factory.mktemp("fp32"))


def change(graph, name, edit):
    """Change an initializer in place."""
    value = graph.graph.initializers[name]
    array = value.const_value.numpy().copy()
    edit(array)
    value.const_value = ir.Tensor(array, name=name)


def scaled(array):
    array *= 1.1


def sign_of_a_block(array):
    array[5, 1] *= -1


def off_by_one_group(array):
    array[...] = np.roll(array, 1, axis=1)


def a_channel_of_zeros(array):
    array[:, 0, 3] = 128


def a_row_of_zeros(array):
    array[7] = 0


def two_rows_swapped(array):
    array[[4, 9]] = array[[9, 4]]


def another_zero_point(array):
    array[...] = np.clip(array.astype(int) + 1, 0, 255)


DOWN = "layers.1.feed_forward.down"
OUTPUT = "layers.1.attention.output"
DAMAGES = [
    (f"{DOWN}.weight.scales", scaled, DOWN),
    (f"{OUTPUT}.weight.scales", scaled, OUTPUT),
    (f"{DOWN}.weight.scales", sign_of_a_block, DOWN),
    (f"{DOWN}.weight.scales", off_by_one_group, DOWN),
    (f"{OUTPUT}.weight.q", a_channel_of_zeros, OUTPUT),
    (f"{DOWN}.weight.q", two_rows_swapped, DOWN),
    ("layers.1.feed_forward.gate_up.weight.q", two_rows_swapped, DOWN),
    (f"{OUTPUT}.weight.q", another_zero_point, OUTPUT),
    ("embedding.weight.scales", sign_of_a_block, "logits"),
    ("embedding.weight.scales", a_row_of_zeros, "logits"),
]


@pytest.mark.parametrize("isa", [DOTPROD, PLAIN])
@pytest.mark.parametrize(("name", "edit", "stage"), DAMAGES)
def test_pain_19_a_damaged_weight_is_found_in_its_stage(int8, name, edit, stage, isa):
    graph = int8.graph()
    change(graph, name, edit)

    found = {stage.name: stage.excess for stage in int8.judged(graph, isa)}

    failed = [name for name, excess in found.items() if excess > 1]
    assert stage in failed, found[stage]
    assert all("norm" not in name for name in failed)


def test_pain_19_other_kernels_of_the_same_weights_are_honest(int8):
    floats = make.keep_activations(int8.graph())
    assert max(stage.excess for stage in int8.judged(int8.graph(), DOTPROD)) < 1
    assert max(stage.excess for stage in int8.judged(int8.graph(), DOTPROD, threads=2)) < 1
    assert max(stage.excess for stage in int8.judged(floats, PLAIN)) < 1


def test_activations_that_are_not_rounded_are_told_from_those_that_are(int8):
    floats = make.keep_activations(int8.graph())
    assert max(stage.excess for stage in int8.judged(floats, DOTPROD)) > 1


def saturating(x, weight):
    """Multiply as ``vpmaddubsw`` does: sums of two products stop at the ends of int16."""
    pairs = x.astype(np.int32)[:, :, None] * weight.astype(np.int32)[None]
    pairs = pairs.reshape(len(x), -1, 2, weight.shape[1]).sum(axis=2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)


def test_pain_19_a_kernel_that_saturates_is_found():
    rng = np.random.default_rng(0)
    x = np.clip(rng.normal(128, 40, (4, 64)), 0, 255).astype(np.uint8)
    weight = np.clip(rng.normal(0, 70, (64, 32)), -128, 127).astype(np.int8)
    right = (x.astype(np.int32) @ weight.astype(np.int32)).astype(np.float32)
    arrays = {"y": right, "y" + parity.NOISE: np.full((2, 4), 0.01, np.float32)}

    honest = judge("y", right * np.float32(1.004), arrays, 1.5)
    broken = judge("y", saturating(x, weight).astype(np.float32), arrays, 1.5)

    assert honest.excess < 1 < broken.excess


def test_values_that_are_no_numbers_are_the_worst(int8):
    name = "logits"
    value = np.full_like(int8.arrays[name], np.nan)
    found = judge(name, value, int8.arrays, 1.5)
    assert (found.whole, found.excess) == (None, None)


def test_a_bundle_meets_its_own_tolerance(int8):
    found = measure_parity(int8.bundle, threads=1)

    assert found.met is True
    assert (found.equal, found.tokens) == (48, 48)
    assert found.stages_checked > 10
    assert found.worst_stage.excess < 1


def test_arithmetic_without_a_tolerance_is_not_judged(int8):
    found = measure_parity(int8.bundle, threads=1, isa="riscv64")

    assert found.met is None
    assert found.kl is not None
    assert "none for riscv64" in found.missing[0].why
    assert parity.headline(found)[0].endswith("not judged on riscv64, 48 of 48 tokens equal")


def test_a_graph_in_float32_has_the_least_tolerance(fp32):
    limits = fp32.goldens.limits[PLAIN]
    assert (limits.mean_kl, limits.max_kl) == (make.LEAST_MEAN, make.LEAST_MAX)


@pytest.mark.parametrize(("kl", "met"), [(0.001, True), (0.02, False), (None, False)])
def test_the_verdict_is_of_all_positions(kl, met):
    prompts = (PromptParity(2, 2, None, (0.0, 0.0)), PromptParity(2, 2, None, (kl, kl)))
    found = Parity("aarch64", "x86_64", prompts, Limits(0.005, 1.0, 1.0))
    assert found.met is met
    assert bool(list(found.faults())) is not met


def test_one_position_far_away_is_a_fault_though_the_mean_is_small():
    prompt = PromptParity(100, 99, 7, (0.0,) * 99 + (0.4,))
    found = Parity("aarch64", "x86_64", (prompt,), Limits(0.005, 0.3, 1.0))
    assert list(found.faults()) == ["the largest KL divergence is 0.4 nats and the limit 0.3"]


def test_stages_that_differ_are_named_and_counted():
    failed = (StageParity("logits", 0.5, 12.345), StageParity("final_norm.norm", None, None))
    found = Parity("aarch64", "x86_64", (), Limits(1, 1, 1), failed_stages=failed)
    assert list(found.faults()) == ["logits differs by 12.3 times the limit, and 1 more do"]
