"""Statistics of small, heavy-tailed samples: medians, bootstrap intervals, a rank test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 20_240_229  # fixed: the same samples give the same interval
LEVEL = 0.95
SIGNIFICANCE = 1 - LEVEL


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def median_interval(samples: Sequence[float]) -> Interval:
    """Return the percentile bootstrap interval of the median (Efron 1979), in the samples' unit."""
    return _between(_medians(samples, np.random.default_rng(SEED)))


def half_width(samples: Sequence[float]) -> float:
    """Return how far the interval of the median reaches from it at most, as a share of it."""
    median, interval = float(np.median(samples)), median_interval(samples)
    return max(interval.high - median, median - interval.low) / median if median else 0.0


def ratio_interval(candidate: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return the bootstrap interval of ``median(candidate) / median(reference)``.

    The two are resampled independently: they come from different runs. Samples must be positive.
    What differs between runs and not between repetitions, such as a busier machine, is not in it.
    """
    rng = np.random.default_rng(SEED)
    top = _medians(candidate, rng)
    return _between(top / _medians(reference, rng))


def _medians(samples: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of resamples; sorted first, so that the order of repetitions does not matter."""
    ordered = np.sort(np.asarray(samples, np.float64))
    picked = rng.integers(0, len(ordered), (RESAMPLES, len(ordered)))
    return np.median(ordered[picked], axis=1)


def _between(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
    return Interval(float(low), float(high))


def smallest_p(n: int, m: int) -> float:
    """Return the smallest two-sided p that a rank test of ``n`` against ``m`` samples can give.

    >>> smallest_p(4, 4) < 0.05 < smallest_p(3, 3)
    True
    """
    return min(2 / math.comb(n + m, n), 1.0)


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p of the rank test of Mann and Whitney (1947).

    Exact where no two values are equal, else by the normal approximation, corrected for ties.
    """
    n, m = len(a), len(b)
    difference = np.subtract.outer(np.asarray(a, np.float64), np.asarray(b, np.float64))
    u = float((difference > 0).sum() + 0.5 * (difference == 0).sum())
    _, ties = np.unique(np.concatenate([a, b]), return_counts=True)
    if (ties == 1).all():
        counts = _u_counts(n, m)
        tail = sum(counts[: int(min(u, n * m - u)) + 1])
        return min(2 * tail / math.comb(n + m, n), 1.0)
    total = n + m
    correction = float((ties**3 - ties).sum()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - correction)
    if variance <= 0:  # every value is the same
        return 1.0
    z = max(abs(u - n * m / 2) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _u_counts(n: int, m: int) -> list[int]:
    """Return in how many orders of ``n`` and ``m`` values the statistic is 0, 1, ... ``n * m``.

    The coefficients of the Gaussian binomial: multiply by (1 - x^(m+i)), divide by (1 - x^i).
    """
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    return counts
