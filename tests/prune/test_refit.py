"""The refit against least squares on the activations themselves."""

import numpy as np
import pytest

from edgellm.prune.refit import absorb, consecutive, measure_lost, refit

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


def test_what_layers_added_is_absorbed_by_least_squares() -> None:
    before = RNG.normal(size=(400, 4)).astype(np.float32)
    after = before + np.tanh(H @ RNG.normal(size=(12, 4))).astype(np.float32)
    halves = [
        ([before[part], after[part]], [H[part]]) for part in (slice(0, 150), slice(150, None))
    ]

    (lost,) = measure_lost(halves)
    result = absorb(lost, W, ridge=0)

    best, *_ = np.linalg.lstsq(H, after - before)
    left = np.linalg.norm(after - before - H @ best) / np.linalg.norm(after - before)
    np.testing.assert_allclose(result.down, W + best, rtol=1e-3, atol=1e-3)
    assert (result.error_before, result.error_after) == (1, pytest.approx(left, rel=1e-3))


@pytest.mark.parametrize(
    ("layers", "runs"),
    [([], []), ([4], [range(4, 5)]), ([7, 2, 3], [range(2, 4), range(7, 8)])],
)
def test_neighbours_are_absorbed_together(layers: list[int], runs: list[range]) -> None:
    assert consecutive(layers) == runs
