import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.runner import stats
from edgellm.runner.stats import (
    mann_whitney,
    median_interval,
    paired_ratio_interval,
    ratio_interval,
    smallest_p,
    smallest_paired_p,
    wilcoxon,
)

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


ROUNDS = st.lists(st.tuples(*[st.integers(1, 10**6).map(float)] * 3), min_size=6, max_size=12)


@FEW
@given(ROUNDS)
def test_what_slows_both_samples_of_a_round_leaves_the_pair_test_and_interval(rounds):
    plain = [(a, b) for a, b, _ in rounds]
    # Powers of two, so that the ratios are the same to the last bit.
    drift = [(a * 2 ** (i % 5), b * 2 ** (i % 5)) for i, (a, b) in enumerate(plain)]
    assert paired_ratio_interval(*zip(*drift, strict=True)) == paired_ratio_interval(
        *zip(*plain, strict=True)
    )
    assert wilcoxon(*zip(*drift, strict=True)) == wilcoxon(*zip(*plain, strict=True))


@FEW
@given(ROUNDS)
def test_the_pair_test_has_no_sides_and_is_a_probability(rounds):
    a, b, _ = zip(*rounds, strict=True)
    assert 0 < wilcoxon(a, b) <= 1
    assert wilcoxon(a, b) == pytest.approx(wilcoxon(b, a))


def test_the_pair_test_agrees_with_counting_every_choice_of_signs():
    ranks = range(1, 8)
    signs = list(itertools.product([1, -1], repeat=7))

    def low(choice):
        above = sum(rank for rank, sign in zip(ranks, choice, strict=True) if sign > 0)
        return min(above, 28 - above)

    every = [low(choice) for choice in signs]
    for choice in signs:
        candidate = [2.0 ** (rank * sign) for rank, sign in zip(ranks, choice, strict=True)]
        expected = sum(other <= low(choice) for other in every) / len(every)
        assert wilcoxon(candidate, [1.0] * 7) == pytest.approx(expected)


def test_ties_and_equal_pairs_are_corrected_for():
    # By hand: one pair is equal and left out; the distances 1, 1, 2, 3 have the ranks 1.5, 1.5, 3
    # and 4, of which 8.5 are above: 3.5 from the middle, less 0.5, and a variance of 29.5 / 4.
    expected = math.erfc(3 / math.sqrt(29.5 / 4) / math.sqrt(2))
    assert wilcoxon([1, 2, 0.5, 4, 8], [1] * 5) == pytest.approx(expected)


def test_equal_pairs_show_nothing():
    assert wilcoxon([4.0, 5.0], [4.0, 5.0]) == 1.0


def test_the_approximation_for_many_pairs_is_near_the_exact_test(monkeypatch):
    candidate = [2.0**i if i % 4 else 2.0**-i for i in range(1, 20)]
    exact = wilcoxon(candidate, [1.0] * 19)
    monkeypatch.setattr(stats, "EXACT_PAIRS", 0)
    assert wilcoxon(candidate, [1.0] * 19) == pytest.approx(exact, rel=0.1)
    assert wilcoxon(candidate, [1.0] * 19) != exact


def test_six_pairs_can_show_a_difference_and_five_cannot():
    assert wilcoxon([2.0**i for i in range(1, 7)], [1.0] * 6) == smallest_paired_p(6) < 0.05
    assert wilcoxon([2.0**i for i in range(1, 6)], [1.0] * 5) == smallest_paired_p(5) > 0.05


def test_samples_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="5 samples cannot be paired with 1"):
        paired_ratio_interval([1.0] * 5, [1.0])
