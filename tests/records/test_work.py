import pytest

from edgellm.records.views import StageWork
from edgellm.records.work import moved_bytes, operations

MATMUL = StageWork("head", weight_bytes=1000, macs=250)
LOOKUP = StageWork("embedding", row_bytes=8)
ATTENTION = StageWork("layers.0.attention", kv_token_bytes=10, context_macs=3)
WINDOW = StageWork("layers.0.attention", kv_token_bytes=10, context_macs=3, window_tokens=4)


@pytest.mark.parametrize(
    ("tokens", "chunk", "calls"), [(1, None, 1), (300, None, 1), (256, 128, 2), (257, 128, 3)]
)
def test_weights_are_read_once_in_each_call(tokens, chunk, calls):
    assert moved_bytes(MATMUL, tokens, 50, chunk=chunk) == calls * 1000


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_row_is_read_for_each_token(chunk):
    assert moved_bytes(LOOKUP, 5, 50, chunk=chunk) == 5 * 8


def test_keys_and_values_are_written_for_each_token_and_read_in_each_call():
    assert moved_bytes(ATTENTION, 1, 7) == 10 * (1 + 8)
    assert moved_bytes(ATTENTION, 5, 7) == 10 * (5 + 12)
    assert moved_bytes(ATTENTION, 5, 7, chunk=2) == 10 * (5 + 9 + 11 + 12)


def test_a_matmul_computes_the_same_for_each_token_whatever_the_cache():
    assert operations(MATMUL, 3, 0) == operations(MATMUL, 3, 900) == 2 * 3 * 250


def test_attention_meets_the_tokens_before_each_and_itself():
    assert operations(ATTENTION, 1, 0) == 2 * 3
    assert operations(ATTENTION, 3, 7) == 2 * 3 * (8 + 9 + 10)


def test_a_prompt_at_once_computes_as_much_as_token_by_token():
    one_by_one = sum(operations(ATTENTION, 1, context) for context in range(6))

    assert operations(ATTENTION, 6, 0) == one_by_one


def test_a_window_bounds_what_attention_looks_at():
    assert operations(WINDOW, 3, 2) == 2 * 3 * (3 + 4 + 4)
    assert moved_bytes(WINDOW, 1, 2) == 10 * (1 + 3)
    assert moved_bytes(WINDOW, 1, 900) == 10 * (1 + 4)
