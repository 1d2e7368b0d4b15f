"""Energy between two moments, from what a sensor said around them."""

import bisect
from collections.abc import Sequence
from itertools import pairwise

from edgellm.records.machine import PowerRail

SECOND_NS = 1_000_000_000


def joules_between(rail: PowerRail, from_ns: int, to_ns: int) -> float | None:
    """Return the energy that a rail used between two moments after the run's start.

    A counter of energy is interpolated between its readings; power is taken as straight between
    its readings and integrated (trapezoids).

    Args:
        rail: The readings.
        from_ns: The earlier moment.
        to_ns: The later one.

    Returns:
        Joules; None where the readings do not cover the time.
    """
    times = rail.at_ns
    if len(times) < 2 or not times[0] <= from_ns <= to_ns <= times[-1]:
        return None
    if rail.joules:
        return _at(times, rail.joules, to_ns) - _at(times, rail.joules, from_ns)
    inside = slice(bisect.bisect_right(times, from_ns), bisect.bisect_left(times, to_ns))
    points = [
        (from_ns, _at(times, rail.watts, from_ns)),
        *zip(times[inside], rail.watts[inside], strict=True),
        (to_ns, _at(times, rail.watts, to_ns)),
    ]
    areas = ((end - start) * (high + low) / 2 for (start, high), (end, low) in pairwise(points))
    return sum(areas) / SECOND_NS


def _at(times: Sequence[int], values: Sequence[float], now_ns: int) -> float:
    """Return the value at a moment within ``times``, straight between its neighbours."""
    after = max(1, min(bisect.bisect_left(times, now_ns), len(times) - 1))
    start, end = times[after - 1], times[after]
    share = (now_ns - start) / (end - start) if end > start else 1.0
    return values[after - 1] + share * (values[after] - values[after - 1])
