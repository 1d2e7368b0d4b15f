import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.records.energy import joules_between
from edgellm.records.machine import PowerRail

S = 1_000_000_000


def counted(*points):
    at, joules = zip(*points, strict=True)
    return PowerRail("package-0", "a test", None, at, joules=joules)


def measured(*points):
    at, watts = zip(*points, strict=True)
    return PowerRail("VDD_IN", "a test", None, at, watts=watts)


def test_energy_is_interpolated_between_readings():
    rail = counted((0, 0.0), (10 * S, 20.0), (20 * S, 60.0))
    assert joules_between(rail, 5 * S, 15 * S) == pytest.approx(30.0)


def test_power_is_integrated_as_trapezoids():
    rail = measured((0, 0.0), (2 * S, 4.0), (4 * S, 4.0))
    assert joules_between(rail, 1 * S, 3 * S) == pytest.approx(3.0 + 4.0)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 11), (6, 5)])
def test_outside_the_readings_nothing_is_known(start, end):
    assert joules_between(measured((0, 1.0), (10, 1.0)), start, end) is None


@pytest.mark.parametrize("rail", [measured((0, 1.0)), PowerRail("x", "a test", None, ())])
def test_one_reading_covers_no_time(rail):
    assert joules_between(rail, 0, 0) is None


times = st.lists(st.integers(0, 1000), min_size=2, max_size=8, unique=True).map(sorted)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data(), times)
def test_energy_of_two_parts_is_the_energy_of_the_whole(data, at):
    values = data.draw(st.lists(st.floats(0, 100), min_size=len(at), max_size=len(at)))
    make = data.draw(st.sampled_from([counted, measured]))
    rail = make(*zip(at, sorted(values), strict=True))
    start, middle, end = sorted(
        data.draw(st.lists(st.integers(at[0], at[-1]), min_size=3, max_size=3))
    )
    whole = joules_between(rail, start, end)
    parts = joules_between(rail, start, middle) + joules_between(rail, middle, end)
    assert parts == pytest.approx(whole, abs=1e-9)
    assert whole >= 0


@settings(derandomize=True, deadline=None, max_examples=30)
@given(times, st.floats(0, 1000))
def test_constant_power_is_power_times_time(at, power):
    rail = measured(*((moment * S, power) for moment in at))
    seconds = at[-1] - at[0]
    assert joules_between(rail, at[0] * S, at[-1] * S) == pytest.approx(power * seconds)
