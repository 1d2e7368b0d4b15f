"""Windows over a text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.errors import UsageError
from edgellm.evaluate.windows import Window, cut
from edgellm.graph.text import Tokens


@given(st.integers(2, 200), st.integers(3, 40), st.data(), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_token_is_scored_once_with_enough_before_it(
    total: int, context: int, source: st.DataObject, prefixed: bool
) -> None:
    prefix = (999,) if prefixed else ()
    stride = source.draw(st.integers(1, context - len(prefix) - 1))

    windows = cut(Tokens(tuple(range(total)), prefix), context, stride)

    scored = [token for window in windows for token in window.targets]
    assert scored == list(range(0 if prefixed else 1, total))
    for window in windows:
        assert window.ids[: len(prefix)] == prefix
        assert len(window.ids) <= context
        assert window.scored >= 1
    for window in windows[1:]:
        assert window.scored >= min(context - stride, len(window.ids) - 1)


def test_the_second_window_scores_what_the_first_did_not() -> None:
    assert cut(Tokens((10, 11, 12, 13, 14, 15), ()), 4, 2) == [
        Window((10, 11, 12, 13), 1),
        Window((12, 13, 14, 15), 2),
    ]


@pytest.mark.parametrize(("context", "stride"), [(8, 0), (8, 8), (1, 1)])
def test_sizes_that_contradict_each_other_are_refused(context: int, stride: int) -> None:
    with pytest.raises(UsageError, match=f"a stride of {stride} in windows of {context} tokens"):
        cut(Tokens((1, 2, 3), ()), context, stride)


def test_a_text_without_anything_to_predict_is_refused() -> None:
    with pytest.raises(UsageError, match="the text has 1 tokens"):
        cut(Tokens((1,), ()), 8, 4)
