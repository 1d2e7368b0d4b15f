"""Blocks of 4 bits whose errors compensate each other (GPTQ, arXiv 2210.17323).

Rounding to the nearest value makes each weight's error small; what counts is the error of the
layer's output, ``||X W^T - X Q^T||``. Weights are therefore rounded one column after the other, and
every column first takes on what makes up for the errors of those before it.

How much that is follows from ``H = X^T X``. GPTQ takes the Cholesky factor of the inverse of H. The
same numbers come without an inverse from ``H = R R^T`` with R upper triangular: the error of the
output is ``||(W - Q) R||``, and column k of that product is least where ``q_k`` is nearest to
``w_k + sum over i < k of (w_i - q_i) R_ik / R_kk`` (LDLQ of QuIP, arXiv 2307.13304, which shows
that both are one algorithm).
"""

import numpy as np
from numpy.typing import NDArray

from edgellm.quantize.blocks import Blocks, find_grid, pack

DAMPING = 0.03
"""Added to the diagonal of H, as a share of its mean."""

Float = NDArray[np.float32]


def compensate(
    weight: Float, gram: Float, *, bits: int, group_size: int, symmetric: bool
) -> Blocks:
    """Quantize a matrix so that the error of its output is small.

    Scales and zero points of a block are found when its turn comes, on weights that have taken on
    the errors of the blocks before; what they minimise is the error of the output. Inputs without
    correlation, all of one size, give what :func:`~edgellm.quantize.blocks.quantize_blocks` gives.

    Args:
        weight: ``(rows, columns)``; a row is one output of the layer.
        gram: X^T X of the layer's input X, ``(columns, columns)``.
        bits: As for ``quantize_blocks``.
        group_size: As for ``quantize_blocks``.
        symmetric: As for ``quantize_blocks``.
    """
    rows, columns = weight.shape
    fill = -columns % group_size
    gram = np.pad(gram, (0, fill))
    order = column_order(np.diag(gram), group_size)
    feedback, stakes = factorize(gram[np.ix_(order, order)])
    # Worked on column by column: contiguous where a column is a row.
    original = np.pad(weight, ((0, 0), (0, fill))).T[order]
    errors = np.zeros_like(original)
    data = np.empty(original.shape, np.uint8)
    scales = np.empty((len(original) // group_size, rows), np.float32)
    zeros = np.empty(scales.shape, np.uint8)
    for start in range(0, len(original), group_size):
        block = slice(start, start + group_size)
        wanted = original[block] + feedback[block, :start] @ errors[:start]
        grid = find_grid(np.ascontiguousarray(wanted.T), bits, symmetric, stakes[block])
        for column in range(start, start + group_size):
            before = slice(start, column)
            target = wanted[column - start] + feedback[column, before] @ errors[before]
            values = grid.nearest(target)
            data[order[column]] = values
            np.subtract(original[column], grid.weights(values), out=errors[column])
        number = order[start] // group_size
        scales[number], zeros[number] = grid.scales, grid.zeros
    return Blocks(
        data=pack(np.ascontiguousarray(data.T).reshape(rows, -1, group_size), bits),
        scales=np.ascontiguousarray(scales.T),
        zero_points=None if symmetric else pack(np.ascontiguousarray(zeros.T), bits),
        bits=bits,
        group_size=group_size,
        columns=columns,
    )


def column_order(energies: Float, group_size: int) -> NDArray[np.int64]:
    """Return in which order columns are rounded: those that matter most first.

    Nothing makes up for the last ones' errors. A block's columns stay together, as its scale is
    found when the first of them has its turn.

    Args:
        energies: The Gram matrix' diagonal.
        group_size: Columns in a block; it divides their number.
    """
    blocks = energies.reshape(-1, group_size)
    first = np.argsort(-blocks.sum(axis=1), kind="stable")
    within = np.argsort(-blocks, axis=1, kind="stable")
    order: NDArray[np.int64] = (first[:, None] * group_size + within[first]).ravel()
    return order


def factorize(gram: Float) -> tuple[Float, Float]:
    """Factorize a Gram matrix, damped, into ``R R^T``.

    Returns:
        ``R_ik / R_kk`` in row k and column i, and ``R_kk`` as shares of the largest: how much of
        the output's error a column's own error makes, once later ones have made up for the rest.
    """
    damped = gram.astype(np.float64)
    diagonal = np.diag_indices_from(damped)
    mean = damped[diagonal].mean()
    damped[diagonal] += DAMPING * mean if mean else 1.0
    # A lower factor of the reversed matrix, reversed, is an upper factor.
    factor = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1].T
    stakes = np.diag(factor)
    feedback = (factor / stakes[:, None]).astype(np.float32)
    return feedback, (stakes / stakes.max()).astype(np.float32)


def output_error(weight: Float, quantized: Float, gram: Float) -> float:
    """Return ``||X (W - Q)^T|| / ||X W^T||`` from X^T X."""
    lost, whole = (
        float(np.einsum("rc,rc->", w @ gram, w, dtype=np.float64))
        for w in (weight - quantized, weight)
    )
    return float(np.sqrt(lost / whole)) if whole else 0.0
