"""Scores of predictions, from logits; no more than a few rows of a vocabulary at a time.

Everything is float64: a divergence of 1e-4 nats is the difference of numbers near 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Scores = NDArray[np.float64]

ROWS = 16
"""Rows in float64 at once: 6 MB for a vocabulary of 49,152, which caches hold."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value per position: of the model, of the reference, and between the two.

    Attributes:
        nll: Negative log-likelihood of the target, nats.
        reference_nll: The reference's.
        divergence: KL(reference || model), nats.
        agree: Whether both find the same token most likely.
    """

    nll: Scores
    reference_nll: Scores
    divergence: Scores
    agree: NDArray[np.bool_]


def log_softmax(logits: Logits) -> Scores:
    """Return log-probabilities of each row."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def negative_log_likelihood(logits: Logits, targets: NDArray[np.int64]) -> Scores:
    """Return ``-log p(target)`` of each row, nats."""
    return -_at(log_softmax(logits), targets)


def compare(logits: Logits, reference: Logits, targets: NDArray[np.int64]) -> Comparison:
    """Compare a model with a reference on the same positions, ``(rows, vocab)`` each."""
    ours, theirs = log_softmax(logits), log_softmax(reference)
    divergence = np.einsum("rv,rv->r", np.exp(theirs), theirs - ours)
    return Comparison(
        -_at(ours, targets),
        -_at(theirs, targets),
        divergence,
        logits.argmax(axis=-1) == reference.argmax(axis=-1),
    )


def _at(scores: Scores, targets: NDArray[np.int64]) -> Scores:
    found: Scores = np.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]
    return found


def concatenate(parts: Sequence[Comparison]) -> Comparison:
    """Join comparisons of consecutive positions."""
    return Comparison(
        np.concatenate([part.nll for part in parts]),
        np.concatenate([part.reference_nll for part in parts]),
        np.concatenate([part.divergence for part in parts]),
        np.concatenate([part.agree for part in parts]),
    )
