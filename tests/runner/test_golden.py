import dataclasses
import math

import numpy as np
import pytest

from edgellm.records import codec
from edgellm.records.golden import GoldenSet
from edgellm.runner import golden

VOCABULARY = 100


class Table:
    """A model whose logits depend on the last token alone."""

    context = 100

    def __init__(self, change=None):
        self.length = 0
        rng = np.random.default_rng(1)
        self.logits = rng.normal(0, 3, (VOCABULARY, VOCABULARY)).astype(np.float32)
        if change is not None:
            self.logits += change

    def reset(self, length=0):
        self.length = length

    def prefill(self, ids):
        return self.logits[ids[-1]]

    def step(self, token):
        return self.logits[token]


RECORDED = golden.record(Table(), (1, 2), 6)


def exact(expected, found):
    """KL divergence over the whole vocabulary, by its definition."""
    p, q = (np.exp(x.astype(np.float64)) for x in (expected, found))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def test_the_same_model_replays_equal():
    replayed = golden.replay(Table(), RECORDED)

    assert (replayed.tokens, replayed.equal, replayed.first_difference) == (6, 6, None)
    assert replayed.kl == pytest.approx((0,) * 6, abs=1e-12)


def test_a_log_sum_exp_is_one():
    assert golden.log_sum_exp(np.array([0, 0], np.float32)) == pytest.approx(math.log(2))


def test_adding_one_number_to_all_logits_changes_no_probability():
    assert golden.replay(Table(0.5), RECORDED).kl == pytest.approx((0,) * 6, abs=1e-6)


def test_the_divergence_is_at_most_that_over_the_whole_vocabulary_and_near_it():
    model = Table(np.random.default_rng(2).normal(0, 0.3, VOCABULARY).astype(np.float32))

    found = golden.replay(model, RECORDED).kl

    path = (2, *RECORDED.output_ids[:-1])
    expected = [exact(Table().logits[token], model.logits[token]) for token in path]
    assert all(0.8 * whole < kl <= whole for kl, whole in zip(found, expected, strict=True))


def test_a_fault_among_the_tokens_that_are_not_kept_shows_in_their_sum():
    model = Table()
    kept = set(RECORDED.top_ids[0])
    others = [token for token in range(VOCABULARY) if token not in kept]
    model.logits[2, others] = 30

    assert golden.replay(model, RECORDED).kl[0] > 1


def test_another_token_is_named_by_its_position():
    other = Table()
    other.logits[RECORDED.output_ids[0]] = np.roll(other.logits[RECORDED.output_ids[0]], 1)

    replayed = golden.replay(other, RECORDED)

    assert replayed.first_difference == 1
    assert replayed.kl[1] > 1


def test_a_near_tie_that_falls_the_other_way_is_near():
    model = Table()
    row = model.logits[2]
    second = int(np.argsort(row)[-2])
    row[int(np.argmax(row))] = row[second] + 0.001
    recorded = golden.record(model, (1, 2), 1)
    row[second] += 0.002

    replayed = golden.replay(model, recorded)

    assert replayed.first_difference == 0
    assert replayed.kl[0] < 1e-5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_have_no_divergence(value):
    assert golden.replay(Table(value), RECORDED).kl == (None,) * 6


def test_a_set_of_the_first_schema_still_reads():
    text = """{"kind": "golden", "schema": 1, "machine": "x86_64", "tolerance": 0.5,
        "prompts": [{"prompt_ids": [1], "output_ids": [2], "logit_checksums": [3.5]}]}"""

    read = codec.loads(GoldenSet, text, "golden.json")

    assert read.prompts[0].log_sum_exp == (3.5,)
    assert read.limits == {}
    assert golden.replay(Table(), dataclasses.replace(RECORDED, top_ids=())).kl == ()
