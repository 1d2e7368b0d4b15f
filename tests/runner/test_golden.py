import math

import numpy as np
import pytest

from edgellm.runner import golden


class Table:
    """A model whose logits depend on the last token alone; ``change`` is added to them."""

    context = 100

    def __init__(self, change=0.0):
        self.length = 0
        rng = np.random.default_rng(1)
        self.logits = (rng.normal(0, 3, (9, 9)) + change).astype(np.float32)

    def reset(self, length=0):
        self.length = length

    def prefill(self, ids):
        return self.logits[ids[-1]]

    def step(self, token):
        return self.logits[token]


RECORDED = golden.record(Table(), (1, 2), 6)


def test_the_same_model_replays_equal():
    replayed = golden.replay(Table(), RECORDED)

    assert (replayed.tokens, replayed.equal, replayed.first_difference) == (6, 6, None)
    assert replayed.deviation == 0
    assert replayed.within(0)


def test_a_checksum_moves_by_no_more_than_the_largest_difference():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 5, 1000).astype(np.float32)
    noise = rng.uniform(-0.01, 0.01, 1000).astype(np.float32)

    moved = abs(golden.checksum(logits + noise) - golden.checksum(logits))

    assert moved <= 0.0101
    assert golden.checksum(np.array([0, 0], np.float32)) == pytest.approx(math.log(2))


def test_shifted_logits_are_seen_though_every_token_is_equal():
    replayed = golden.replay(Table(change=0.5), RECORDED)

    assert replayed.equal == 6
    assert replayed.deviation == pytest.approx(0.5, abs=1e-5)
    assert not replayed.within(0.1)
    assert "DIFFERS" in golden.describe(replayed, 0.1)


def test_another_token_is_named_by_its_position():
    other = Table()
    other.logits[RECORDED.output_ids[0]] = np.roll(other.logits[RECORDED.output_ids[0]], 1)

    replayed = golden.replay(other, RECORDED)

    assert replayed.first_difference == 1
    assert replayed.shortfall > 1
    assert not replayed.within(0.1)


def test_a_near_tie_that_falls_the_other_way_is_within_the_tolerance():
    model = Table()
    row = model.logits[2]
    second = int(np.argsort(row)[-2])
    row[second] = row.max() + 0.001

    replayed = golden.replay(model, golden.record(Table(), (1, 2), 1))

    assert replayed.first_difference == 0
    assert replayed.shortfall == pytest.approx(0.001, rel=0.01)


def test_logits_that_are_no_numbers_do_not_pass():
    replayed = golden.replay(Table(change=math.nan), RECORDED)

    assert not replayed.within(1e9)


def test_the_tolerance_is_what_the_model_itself_varies_by():
    class Uneven(Table):
        def step(self, token):
            return super().step(token) + np.float32(0.25)

    even, uneven = (golden.tolerance(model, [RECORDED]) for model in (Table(), Uneven()))

    assert even == golden.LEAST_TOLERANCE
    assert uneven == pytest.approx(0.25 * golden.MARGIN, rel=1e-4)
