"""How much a layer or a feed-forward channel matters, measured on calibration text."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from edgellm.prune.anatomy import Array


def block_influence(streams: Iterable[Sequence[Array]]) -> list[float]:
    """Return how much each layer turns the residual stream: 1 - cos(before, after).

    The mean over all tokens (block influence, ShortGPT, arXiv 2403.03853): 0 for a layer that
    only rescales what passes through it.

    Args:
        streams: Per sequence, ``layers + 1`` arrays ``(tokens, hidden)``.
    """
    total, tokens = None, 0
    for stream in streams:
        turned = np.array([_turn(a, b) for a, b in itertools.pairwise(stream)])
        total = turned if total is None else total + turned
        tokens += len(stream[0])
    assert total is not None, "no calibration text"
    return [float(value) / tokens for value in total]


def _turn(before: Array, after: Array) -> float:
    """Return the sum over tokens of 1 - cos(before, after)."""
    dot = np.einsum("th,th->t", before, after, dtype=np.float64)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(np.sum(1.0 - dot / norms))


def channel_importance(gram: Array, down: Array) -> list[float]:
    """Return the energy that each channel adds to a feed-forward block's output.

    The sum over the calibration tokens of h_c^2 times ||W_c||^2: the squared norm of what is lost
    where channel c alone goes. It is Wanda's score |W| * ||X|| (arXiv 2306.11695), squared and
    summed over the row of the down projection that goes with the channel.

    Args:
        gram: H^T H of the activations, ``(width, width)``.
        down: Weight of the down projection, ``(width, hidden)``.
    """
    energy = np.diag(gram).astype(np.float64)
    rows: list[float] = (energy * np.square(down, dtype=np.float64).sum(axis=1)).tolist()
    return rows
