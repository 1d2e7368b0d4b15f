"""Choosing what goes, and plans that fit one model only."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.calibrate.calibration import CalibrationUsed
from edgellm.errors import UsageError
from edgellm.prune.plan import (
    ChannelChoice,
    LayerChoice,
    PrunePlan,
    choose_channels,
    choose_layers,
    width_after,
)
from edgellm.records import codec

TEXT = CalibrationUsed("text.txt", "cd" * 32, 2000)
PLAN = PrunePlan(
    "smol",
    "ab" * 32,
    TEXT,
    (LayerChoice(0, 0.5, removed=False), LayerChoice(1, 0.1, removed=True)),
    (ChannelChoice(0, 4, (0, 3), 0.9),),
)


def test_layers_of_least_influence_go() -> None:
    assert [c.layer for c in choose_layers([0.9, 0.1, 0.3, 0.2], 2) if c.removed] == [1, 3]


@pytest.mark.parametrize("count", [-1, 3, 4])
def test_removing_every_layer_is_refused_with_the_numbers(count: int) -> None:
    with pytest.raises(
        UsageError, match=f"cannot remove {count} of 3 layers: give --layers 1 to 2"
    ):
        choose_layers([0.1, 0.2, 0.3], count)


@pytest.mark.parametrize(("ratio", "kept"), [(-0.5, 128), (0.1, 96), (0.9, 0), (1.5, 0)])
def test_a_ratio_that_leaves_all_or_nothing_is_refused_with_the_numbers(
    ratio: float, kept: int
) -> None:
    with pytest.raises(UsageError, match=rf"would keep {kept} of 96 channels.*0\.33 to 0\.67"):
        width_after(96, ratio)


@given(st.lists(st.floats(0.01, 10), min_size=64, max_size=200), st.floats(0.3, 0.6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_most_important_channels_stay(importance: list[float], ratio: float) -> None:
    choice = choose_channels(0, importance, ratio)

    gone = set(range(len(importance))) - set(choice.kept)
    assert len(choice.kept) % 32 == 0
    assert list(choice.kept) == sorted(choice.kept)
    assert min(importance[c] for c in choice.kept) >= max(importance[c] for c in gone)


def test_a_plan_survives_its_file() -> None:
    assert codec.loads(PrunePlan, codec.dumps(PLAN), "plan.json") == PLAN


def test_a_plan_fits_the_model_and_text_it_was_made_for() -> None:
    PLAN.check_fits("ab" * 32, "smol", TEXT)


@pytest.mark.parametrize(
    ("plan", "digest", "text", "sentence"),
    [
        (PLAN, "cd" * 32, TEXT, "made for smol with digest abababababab, dir has cdcdcdcdcdcd"),
        (
            PLAN,
            "ab" * 32,
            dataclasses.replace(TEXT, sha256="00" * 32),
            "calibration text text.txt",
        ),
        (
            dataclasses.replace(PLAN, channels=(ChannelChoice(0, 4, (0, 4), 0.9),)),
            "ab" * 32,
            TEXT,
            "channels that block 0 does not have",
        ),
        (
            dataclasses.replace(PLAN, layers=(LayerChoice(0, 0.5, removed=True),)),
            "ab" * 32,
            TEXT,
            "removes every layer",
        ),
    ],
)
def test_a_plan_is_refused_where_it_does_not_fit(
    plan: PrunePlan, digest: str, text: CalibrationUsed, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        plan.check_fits(digest, "dir", text)
