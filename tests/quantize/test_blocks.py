"""Blocks of integers: bounds, packing, and the grids of GGUF."""

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgellm.quantize.blocks import quantize_blocks
from edgellm.quantize.rows import quantize_rows
from edgellm.quantize.scheme import fitting_group

Matrix = NDArray[np.float32]
weights = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 80)),
    elements=st.floats(-8, 8, width=32, allow_subnormal=False),
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(weights, st.sampled_from([(8, True), (8, False), (4, True)]), st.sampled_from([16, 32]))
def test_a_weight_moves_by_at_most_its_step(
    weight: Matrix, kind: tuple[int, bool], group: int
) -> None:
    bits, symmetric = kind
    blocks = quantize_blocks(weight, bits=bits, group_size=group, symmetric=symmetric)

    step = np.abs(np.repeat(blocks.scales, group, axis=1))[:, : weight.shape[1]]
    # Half a step, but for rounding of the zero point and for the missing +8 of 4 bits.
    share = 0.5 if kind == (8, True) else 1.0
    assert blocks.dequantize().shape == weight.shape
    assert np.all(np.abs(blocks.dequantize() - weight) <= share * step * 1.001 + 1e-6)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(weights)
def test_a_narrower_range_is_taken_only_where_it_errs_less(weight: Matrix) -> None:
    best = quantize_blocks(weight, bits=4, group_size=16, symmetric=False).dequantize()

    filled = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 16))).reshape(len(weight), -1, 16)
    low, high = np.minimum(filled.min(-1), 0), np.maximum(filled.max(-1), 0)
    step = ((high - low) / 15)[..., None]
    zero = np.rint(np.divide(-low[..., None], step, out=np.zeros_like(step), where=step > 0))
    ratio = np.divide(filled, step, out=np.zeros_like(filled), where=step > 0)
    full = (np.clip(np.floor(ratio + zero + 0.5), 0, 15) - zero) * step
    full = full.reshape(len(weight), -1)[:, : weight.shape[1]]
    assert np.square(best - weight).sum() <= np.square(full - weight).sum() * 1.0001 + 1e-9


@settings(deadline=None, max_examples=40, derandomize=True)
@given(weights, st.sampled_from([4, 8]), st.booleans())
def test_quantizing_what_was_quantized_changes_nothing(
    weight: Matrix, bits: int, symmetric: bool
) -> None:
    once = quantize_blocks(weight, bits=bits, group_size=16, symmetric=symmetric).dequantize()

    twice = quantize_blocks(once, bits=bits, group_size=16, symmetric=symmetric).dequantize()

    if symmetric:
        np.testing.assert_array_equal(twice, once)
    else:  # the second range may be a step shorter where no weight rounded to its end
        scale = quantize_blocks(once, bits=bits, group_size=16, symmetric=False).scales
        np.testing.assert_allclose(twice, once, atol=float(scale.max()) + 1e-6)


@pytest.mark.parametrize(("kind", "bits"), [("Q8_0", 8), ("Q4_0", 4)])
def test_gguf_blocks_are_carried_over_exactly(kind: str, bits: int) -> None:
    original = np.random.default_rng(1).normal(0, 0.1, (64, 256)).astype(np.float32)
    type_ = gguf.GGMLQuantizationType[kind]
    from_file = gguf.quants.dequantize(gguf.quants.quantize(original, type_), type_)

    blocks = quantize_blocks(from_file, bits=bits, group_size=32, symmetric=True)

    np.testing.assert_array_equal(blocks.dequantize(), from_file)


def test_a_block_of_zeros_stays_zero() -> None:
    zeros = np.zeros((2, 32), np.float32)

    for symmetric in (True, False):
        blocks = quantize_blocks(zeros, bits=4, group_size=32, symmetric=symmetric)
        np.testing.assert_array_equal(blocks.dequantize(), zeros)
    np.testing.assert_array_equal(quantize_rows(zeros)[0], zeros)


def test_a_group_divides_the_row_where_one_can() -> None:
    assert [fitting_group(n, 128) for n in (1536, 576, 48, 50)] == [128, 64, 16, 128]
