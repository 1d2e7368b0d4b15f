import math

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgellm.errors import EdgellmError, UsageError
from edgellm.runner.sampling import GREEDY, Sampler, Sampling, candidates, nucleus, penalized

few = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
# Distinct values: among equal ones either may be kept.
rows = st.lists(st.integers(-500, 500), min_size=2, max_size=600, unique=True).map(
    lambda values: np.array(values, np.float32) / 50
)


def softmax(logits):
    wide = np.exp(logits.astype(np.float64) - logits.max())
    return wide / wide.sum()


@few
@given(rows, st.integers(1, 700))
def test_top_k_keeps_the_largest(logits, k):
    tokens, _ = candidates(logits, Sampling(temperature=1, top_k=k))

    assert set(tokens) == set(np.argsort(-logits)[:k])


@few
@given(rows, st.floats(0.01, 0.999))
def test_top_p_keeps_the_fewest_that_reach_the_mass(logits, mass):
    tokens, _ = candidates(logits, Sampling(temperature=1, top_p=mass))

    probabilities = softmax(logits)
    assert list(tokens) == list(np.argsort(-logits)[: len(tokens)])
    assert probabilities[tokens].sum() >= mass - 1e-9
    assert probabilities[tokens[:-1]].sum() < mass


@few
@given(rows, st.floats(0, 1), st.floats(0.1, 3))
def test_min_p_keeps_what_is_near_the_best(logits, share, temperature):
    tokens, _ = candidates(logits, Sampling(temperature=temperature, min_p=share))

    relative = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    assert set(tokens) == set(np.flatnonzero(relative >= share))


@few
@given(rows)
def test_probabilities_are_those_of_the_softmax(logits):
    tokens, probabilities = candidates(logits, Sampling(temperature=0.5))

    expected = softmax(logits * 2)
    np.testing.assert_allclose(probabilities, expected[tokens], rtol=1e-6)


def test_a_nucleus_wider_than_the_first_look_is_whole():
    flat = np.full(1000, 1 / 1000)

    assert len(nucleus(flat, 0.5)) in (500, 501)


def test_greedy_takes_the_first_of_the_best():
    assert Sampler(GREEDY).choose(np.array([1, 5, 5, 2], np.float32)) == 1


def test_the_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    logits = np.array([2, -2, 1], np.float32)

    np.testing.assert_array_equal(penalized(logits, {0, 1}, 2), [1, -4, 1])
    np.testing.assert_array_equal(logits, [2, -2, 1])


def test_the_penalty_counts_the_prompt_and_the_output():
    sampler = Sampler(Sampling(repetition_penalty=10), seen=[0])
    logits = np.array([3, 2, 1], np.float32)

    assert [sampler.choose(logits) for _ in range(3)] == [1, 2, 0]


def test_one_seed_gives_one_sequence():
    logits = np.zeros(100, np.float32)
    first, again, other = (
        [sampler.choose(logits) for _ in range(20)]
        for sampler in (Sampler(Sampling(temperature=1, seed=seed)) for seed in (3, 3, 4))
    )

    assert first == again
    assert first != other


def test_a_run_without_a_seed_says_which_one_it_took():
    logits = np.zeros(1000, np.float32)
    free = Sampler(Sampling(temperature=1))

    drawn = free.choose(logits)

    assert Sampler(Sampling(temperature=1, seed=free.seed)).choose(logits) == drawn


def test_draws_follow_the_probabilities():
    sampler = Sampler(Sampling(temperature=1, seed=0))
    logits = np.log(np.array([0.7, 0.2, 0.1], np.float32))

    counts = np.bincount([sampler.choose(logits) for _ in range(3000)], minlength=3)

    np.testing.assert_allclose(counts / 3000, [0.7, 0.2, 0.1], atol=0.03)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1)])
def test_logits_that_are_no_numbers_are_refused(sampling):
    with pytest.raises(EdgellmError, match="logits hold nan"):
        Sampler(sampling).choose(np.array([1, math.nan], np.float32))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.5),
        ("min_p", -0.1),
        ("repetition_penalty", 0),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(UsageError, match=f"{field.replace('_', '.')} {value} is not possible"):
        Sampling(**{field: value})
