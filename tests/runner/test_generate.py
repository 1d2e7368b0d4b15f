import numpy as np
import pytest

from edgellm.errors import UsageError
from edgellm.runner.generate import Ending, Generation

END = 257


class Scripted:
    """A model that says given tokens, whatever it is told."""

    def __init__(self, says, context=100):
        self.says = says
        self.context = context
        self.length = 0

    def reset(self, length=0):
        self.length = length

    def prefill(self, ids):
        self.length = len(ids)
        return self._logits(0)

    def step(self, token):
        position = self.length - self.prompt_tokens
        assert token == self.says[position]
        self.length += 1
        return self._logits(position + 1)

    prompt_tokens = 2

    def _logits(self, position):
        logits = np.zeros(258, np.float32)
        logits[self.says[position]] = 1
        return logits


@pytest.fixture
def answer(byte_tokenizer):
    def run(text, ended=True, context=100, prompt="hi", **ending):
        says = [*byte_tokenizer.encode(text).ids, *([END] if ended else [])]
        model = Scripted(says, context)
        ids = byte_tokenizer.encode(prompt).ids
        generation = Generation(model, byte_tokenizer, ids, Ending((END,), **ending))
        pieces = list(generation)
        assert "" not in pieces
        assert "".join(pieces) == generation.result.text
        return generation.result

    return run


def test_a_stop_token_ends_the_answer_and_is_no_part_of_it(answer, byte_tokenizer):
    result = answer("Tick.")

    assert result.text == "Tick."
    assert result.finish_reason == "stop"
    assert result.output_ids == tuple(byte_tokenizer.encode("Tick.").ids)
    assert result.prompt_ids == tuple(byte_tokenizer.encode("hi").ids)


def test_max_tokens_end_the_answer(answer):
    result = answer("Tick.", max_tokens=3)

    assert (result.text, result.finish_reason) == ("Tic", "length")


def test_a_stop_string_ends_the_answer_before_it_begins(answer):
    result = answer("one\n\nUser: two", stop_strings=("\nUser:",))

    assert (result.text, result.finish_reason) == ("one\n", "stop")


def test_text_held_back_for_a_stop_string_comes_at_the_end(answer):
    result = answer("one\nUse", stop_strings=("\nUser:",))

    assert (result.text, result.finish_reason) == ("one\nUse", "stop")


def test_a_full_context_ends_the_answer(answer):
    result = answer("0123456789", context=6)

    assert (result.text, result.finish_reason) == ("01234", "context")


def test_a_prompt_that_fills_the_context_still_gets_one_token(answer):
    result = answer("0123", context=2)

    assert (result.text, result.finish_reason) == ("0", "context")


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(answer):
    with pytest.raises(UsageError, match="prompt has 5 tokens, the context holds 4: shorten"):
        answer("x", context=4, prompt="12345")


def test_a_prompt_without_tokens_is_refused(answer):
    with pytest.raises(UsageError, match="no tokens"):
        answer("x", prompt="")


def test_an_answer_may_be_empty(answer):
    result = answer("")

    assert (result.text, result.finish_reason, result.output_ids) == ("", "stop", ())


@pytest.mark.parametrize("ending", [{"max_tokens": 0}, {"stop_strings": ("a", "")}])
def test_an_ending_that_cannot_be_is_refused(ending):
    with pytest.raises(UsageError):
        Ending((END,), **ending)
