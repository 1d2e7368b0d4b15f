"""Rotary position embeddings as the tables that GroupQueryAttention reads.

RoPE: arXiv 2104.09864. Scaling rules: linear interpolation (arXiv 2306.15595) and the
frequency-dependent one of Llama 3.1, as transformers 4.57 computes them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel


def rotary_tables(
    head_dim: int, positions: int, theta: float, scaling: Mapping[str, Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosine and sine tables, each ``(positions, head_dim / 2)``.

    Raises:
        UnsupportedModel: The scaling is of a kind that no rule covers.
    """
    frequencies = rotary_frequencies(head_dim, theta, scaling)
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies[None, :]
    return np.cos(angles), np.sin(angles)


def rotary_frequencies(
    head_dim: int, theta: float, scaling: Mapping[str, Any] | None
) -> NDArray[np.float32]:
    """Return the radians per position of each pair of channels, ``(head_dim / 2,)``.

    Raises:
        UnsupportedModel: The scaling is of a kind that no rule covers.
    """
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    frequencies: NDArray[np.float32] = (1.0 / theta**exponent).astype(np.float32)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if scaling and kind == "linear":
        return frequencies / np.float32(scaling["factor"])
    if scaling and kind == "llama3":
        return _llama3(frequencies, scaling)
    if kind != "default":
        raise UnsupportedModel(
            f"rotary scaling {kind!r} has no fused route; known: default, linear, llama3"
        )
    return frequencies


def _llama3(frequencies: NDArray[np.float32], scaling: Mapping[str, Any]) -> NDArray[np.float32]:
    """Slow the low frequencies down by ``factor``, keep the high ones, blend between."""
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = original * frequencies / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    scaled: NDArray[np.float32] = ((1 - blend) * frequencies / factor + blend * frequencies).astype(
        np.float32
    )
    return scaled
