"""Scores of rows that can be computed by hand."""

import math

import numpy as np
import pytest

from edgellm.evaluate.scores import compare, concatenate, negative_log_likelihood

RNG = np.random.default_rng(0)


def test_a_uniform_model_has_the_likelihood_of_its_vocabulary() -> None:
    nll = negative_log_likelihood(np.full((3, 50), 7.0, np.float32), np.array([0, 10, 49]))

    assert nll == pytest.approx([math.log(50)] * 3)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    logits = np.array([[30000.0, 29999.0, -30000.0]], np.float32)

    assert negative_log_likelihood(logits, np.array([1])) == pytest.approx(
        [1 + math.log1p(math.exp(-1))]
    )
    assert negative_log_likelihood(logits, np.array([2])) == pytest.approx([60000.3], rel=1e-5)


def test_divergence_is_that_of_the_reference_from_the_model() -> None:
    reference = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    model = np.log(np.array([[0.9, 0.1], [0.9, 0.1]], np.float32))

    found = compare(model, reference, np.array([0, 1]))

    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert found.divergence == pytest.approx([expected, 0], abs=1e-7)
    assert found.nll == pytest.approx([-math.log(0.9), -math.log(0.1)], rel=1e-6)
    assert found.reference_nll == pytest.approx([-math.log(0.5), -math.log(0.1)], rel=1e-6)


def test_a_constant_added_to_the_logits_changes_nothing() -> None:
    logits = RNG.normal(size=(4, 20)).astype(np.float32)

    found = compare(logits + np.float32(8), logits, np.arange(4))

    assert found.divergence == pytest.approx([0] * 4, abs=1e-6)
    assert found.agree.all()


def test_agreement_is_of_the_most_likely_token() -> None:
    found = compare(
        np.array([[1, 2, 3], [3, 2, 1]], np.float32),
        np.array([[1, 2, 9], [1, 2, 3]], np.float32),
        np.array([0, 0]),
    )

    assert found.agree.tolist() == [True, False]


def test_joined_parts_are_the_whole() -> None:
    a, b = RNG.normal(size=(2, 6, 20)).astype(np.float32)
    targets = np.arange(6)

    whole = compare(a, b, targets)
    parts = concatenate(
        [compare(a[i : i + 2], b[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4)]
    )

    np.testing.assert_allclose(parts.divergence, whole.divergence, rtol=1e-12)
    np.testing.assert_array_equal(parts.agree, whole.agree)
