"""The refit against least squares on the activations themselves."""

import numpy as np
import pytest

from edgellm.prune.refit import refit

RNG = np.random.default_rng(0)
# 12 channels that move together in groups: what goes can be made up for by what stays.
H = (
    RNG.normal(size=(400, 5)) @ RNG.normal(size=(5, 12)) + 0.1 * RNG.normal(size=(400, 12))
).astype(np.float32)
W = RNG.normal(size=(12, 4)).astype(np.float32)
KEPT = [0, 2, 3, 5, 6, 8, 9, 11]


def error(down: object) -> float:
    return float(np.linalg.norm(H @ W - H[:, KEPT] @ down) / np.linalg.norm(H @ W))


def test_errors_are_those_of_the_output() -> None:
    result = refit(H.T @ H, W, KEPT)

    assert result.error_before == pytest.approx(error(W[KEPT]), rel=1e-4)
    assert result.error_after == pytest.approx(error(result.down), rel=1e-3)
    assert result.error_after < 0.6 * result.error_before


def test_without_a_ridge_it_is_least_squares() -> None:
    best, *_ = np.linalg.lstsq(H[:, KEPT], H @ W)

    np.testing.assert_allclose(refit(H.T @ H, W, KEPT, ridge=0).down, best, rtol=1e-3, atol=1e-4)


def test_a_strong_ridge_keeps_the_old_rows() -> None:
    np.testing.assert_allclose(refit(H.T @ H, W, KEPT, ridge=1e9).down, W[KEPT], atol=1e-5)


def test_channels_without_energy_cost_nothing() -> None:
    quiet = H.copy()
    quiet[:, [1, 4, 7, 10]] = 0

    result = refit(quiet.T @ quiet, W, KEPT)

    assert result.error_before == result.error_after == 0
    np.testing.assert_array_equal(result.down, W[KEPT])
