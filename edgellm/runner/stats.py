"""Statistics of small, heavy-tailed samples: medians, bootstrap intervals, rank tests."""

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


def paired_ratios(candidate: Sequence[float], reference: Sequence[float]) -> NDArray[np.float64]:
    """Return ``candidate / reference`` round by round, of samples that took turns.

    Raises:
        ValueError: One has more samples than the other.
    """
    if len(candidate) != len(reference):
        raise ValueError(f"{len(candidate)} samples cannot be paired with {len(reference)}")
    return np.asarray(candidate, np.float64) / np.asarray(reference, np.float64)


def paired_ratio_interval(candidate: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return the bootstrap interval of the median of the ratios, round by round.

    What slows the machine for longer than a round is in both of its samples, and so leaves the
    ratio. Samples must be positive.
    """
    return median_interval(paired_ratios(candidate, reference).tolist())


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


EXACT_PAIRS = 20  # beyond it the normal approximation is as good


def smallest_paired_p(n: int) -> float:
    """Return the smallest two-sided p that the signed-rank test of ``n`` pairs can give.

    >>> smallest_paired_p(6) < 0.05 < smallest_paired_p(5)
    True
    """
    return min(math.ldexp(2, -n), 1.0)


def wilcoxon(candidate: Sequence[float], reference: Sequence[float]) -> float:
    """Return the two-sided p of the signed-rank test of Wilcoxon (1945) on the ratios' logarithms.

    Exact for up to 20 pairs where no two ratios are equally far from 1 and none is 1; else by the
    normal approximation, corrected for ties. Pairs that are equal are left out.
    """
    logs = np.log(paired_ratios(candidate, reference))
    told = logs[logs != 0]
    n = len(told)
    _, place, ties = np.unique(np.abs(told), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]  # equal distances share their mean rank
    above, total = float(ranks[told > 0].sum()), n * (n + 1) / 2
    if n == len(logs) <= EXACT_PAIRS and (ties == 1).all():
        tail = sum(_rank_sum_counts(n)[: int(min(above, total - above)) + 1])
        return min(math.ldexp(2 * tail, -n), 1.0)
    variance = float((ranks**2).sum()) / 4  # with mean ranks this is the correction for ties
    if variance <= 0:  # every pair is equal
        return 1.0
    z = max(abs(above - total / 2) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _rank_sum_counts(n: int) -> list[int]:
    """Return in how many of the 2^n choices of signs the ranks above sum to 0, 1, ... .

    The coefficients of the product of (1 + x^rank).
    """
    counts = [1]
    for rank in range(1, n + 1):
        without, chosen = [*counts, *[0] * rank], [*[0] * rank, *counts]
        counts = [a + b for a, b in zip(without, chosen, strict=True)]
    return counts
