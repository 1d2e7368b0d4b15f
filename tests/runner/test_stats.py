import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.runner.stats import mann_whitney, median_interval, ratio_interval, smallest_p

# Powers of two scale floats without rounding, so equality can be asked for.
SAMPLES = st.lists(st.integers(1, 10**9).map(float), min_size=1, max_size=8)
FEW = settings(deadline=None, derandomize=True, max_examples=25)


# Many distinct values: with few, an interval ends on the same sample whatever is drawn.
MANY = st.lists(st.integers(1, 10**9).map(float), min_size=30, max_size=60, unique=True)


@FEW
@given(MANY, st.randoms(use_true_random=False))
def test_the_order_of_repetitions_does_not_matter(samples, random):
    shuffled = random.sample(samples, len(samples))
    assert median_interval(shuffled) == median_interval(samples)


@FEW
@given(SAMPLES, st.sampled_from([0.25, 4.0, 1024.0]))
def test_an_interval_scales_with_its_samples(samples, factor):
    plain, scaled = median_interval(samples), median_interval([factor * x for x in samples])
    assert (scaled.low, scaled.high) == (factor * plain.low, factor * plain.high)


@FEW
@given(SAMPLES, SAMPLES, st.sampled_from([0.25, 4.0]))
def test_a_ratio_does_not_depend_on_the_unit(a, b, factor):
    scaled = ratio_interval([factor * x for x in a], [factor * x for x in b])
    assert scaled == ratio_interval(a, b)


@FEW
@given(SAMPLES)
def test_an_interval_lies_within_the_samples(samples):
    interval = median_interval(samples)
    assert min(samples) <= interval.low <= interval.high <= max(samples)


def test_one_value_has_an_interval_without_width():
    interval = median_interval([5.0])
    assert (interval.low, interval.high) == (5.0, 5.0)


def test_the_rank_test_agrees_with_counting_every_order():
    values = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0]

    def u_of(chosen):
        rest = [x for x in values if x not in chosen]
        u = sum(x > y for x in chosen for y in rest)
        return min(u, len(chosen) * len(rest) - u)

    every = [u_of(chosen) for chosen in itertools.combinations(values, 3)]
    for chosen in itertools.combinations(values, 3):
        rest = [x for x in values if x not in chosen]
        expected = sum(u <= u_of(chosen) for u in every) / len(every)
        assert mann_whitney(chosen, rest) == pytest.approx(expected)


def test_ties_are_corrected_for():
    # By hand: 4 of 25 pairs, so 8.5 below the middle, less 0.5 for continuity; three values 2 and
    # two values 7 give a variance of 25 / 12 * (11 - 30 / 90).
    z = 8 / math.sqrt(25 / 12 * (11 - 30 / 90))
    expected = math.erfc(z / math.sqrt(2))
    assert mann_whitney([1, 2, 2, 3, 5], [2, 4, 6, 7, 7]) == pytest.approx(expected)


def test_equal_values_show_nothing():
    assert mann_whitney([4.0] * 5, [4.0] * 5) == 1.0


def test_four_samples_on_each_side_can_show_a_difference_and_three_cannot():
    assert smallest_p(3, 3) == pytest.approx(0.1)
    assert smallest_p(4, 4) == pytest.approx(2 / 70)
    assert smallest_p(1, 1) == 1.0
