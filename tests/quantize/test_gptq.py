"""Errors that compensate each other, and the same blocks where there is nothing to compensate."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgellm.quantize.blocks import quantize_blocks
from edgellm.quantize.gptq import DAMPING, column_order, compensate, factorize, output_error

Matrix = NDArray[np.float32]
both_kinds = pytest.mark.parametrize("symmetric", [True, False])


def normal(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@both_kinds
def test_the_output_errs_less_than_rounded_where_inputs_are_correlated(symmetric: bool) -> None:
    weight = normal(0, 48, 96)
    inputs = normal(1, 400, 12) @ normal(2, 12, 96) + 0.1 * normal(3, 400, 96)
    gram = inputs.T @ inputs

    better = compensate(weight, gram, bits=4, group_size=32, symmetric=symmetric).dequantize()

    rounded = quantize_blocks(weight, bits=4, group_size=32, symmetric=symmetric).dequantize()
    lost = np.linalg.norm(inputs @ (weight - better).T) / np.linalg.norm(inputs @ weight.T)
    assert output_error(weight, better, gram) == pytest.approx(lost, rel=1e-2)
    assert lost < 0.5 * output_error(weight, rounded, gram)


@both_kinds
@pytest.mark.parametrize("columns", [96, 80])
@pytest.mark.parametrize("size", [0.0, 3.0])
def test_inputs_without_correlation_give_the_rounded_blocks(
    size: float, columns: int, symmetric: bool
) -> None:
    weight, gram = normal(0, 16, columns), size * np.eye(columns, dtype=np.float32)

    found = compensate(weight, gram, bits=4, group_size=32, symmetric=symmetric)

    expected = quantize_blocks(weight, bits=4, group_size=32, symmetric=symmetric)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.scales, expected.scales)
    np.testing.assert_array_equal(found.dequantize(), expected.dequantize())


def test_feedback_is_what_the_paper_takes_from_the_inverse() -> None:
    inputs = normal(4, 50, 8)
    gram = inputs.T @ inputs
    damped = gram + DAMPING * np.diag(gram).mean() * np.eye(8)

    feedback, _ = factorize(gram)

    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    step = factor / np.diag(factor)[:, None]
    np.testing.assert_allclose(feedback.T, np.linalg.inv(step), atol=1e-4)


def test_blocks_stay_together_and_what_matters_most_comes_first() -> None:
    energies = np.array([1, 2, 7, 9, 4, 4], np.float32)

    np.testing.assert_array_equal(column_order(energies, 2), [3, 2, 4, 5, 1, 0])
