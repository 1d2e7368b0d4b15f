"""Scores on activations small enough to see."""

import numpy as np
import pytest

from edgellm.prune.importance import block_influence, channel_importance


def test_a_layer_that_rescales_has_no_influence_and_one_that_turns_has() -> None:
    x = np.array([[1, 0], [0, 2]], np.float32)
    turned = np.array([[0, 6], [6, 0]], np.float32)
    back = -turned

    assert block_influence([[x, 3 * x, turned, back]]) == pytest.approx([0, 1, 2])


def test_influence_is_the_mean_over_tokens_not_over_sequences() -> None:
    same = np.ones((3, 2), np.float32)
    one = np.array([[1, 0]], np.float32)

    assert block_influence([[same, same], [one, one[:, ::-1]]]) == pytest.approx([1 / 4])


def test_importance_is_the_energy_lost_with_the_channel_alone() -> None:
    rng = np.random.default_rng(0)
    h, w = rng.normal(size=(2, 50, 6)).astype(np.float32), rng.normal(size=(6, 3))
    rows = np.concatenate(h)

    lost = [float(np.square(np.outer(rows[:, c], w[c])).sum()) for c in range(6)]
    assert channel_importance(rows.T @ rows, w.astype(np.float32)) == pytest.approx(lost, rel=1e-5)
