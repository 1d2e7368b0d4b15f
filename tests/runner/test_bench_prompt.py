import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edgellm.errors import UsageError
from edgellm.runner.bench_prompt import TEXT, of_length


def by_word():
    made = Tokenizer(models.WordLevel({"?": 0, "[BOS]": 1}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


@pytest.mark.parametrize("tokens", [1, 2, 64, 512])
def test_a_prompt_has_exactly_the_length_asked_for(tokens):
    tokenizer = by_word()
    assert len(tokenizer.encode(of_length(tokenizer, tokens)).ids) == tokens


def test_a_leading_token_of_the_tokenizer_counts():
    tokenizer = by_word()
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A", None, [("[BOS]", 1)])
    assert len(tokenizer.encode(of_length(tokenizer, 10)).ids) == 10


def test_a_length_that_no_text_has_is_refused():
    tokenizer = by_word()
    two_first = processors.TemplateProcessing("[BOS] [BOS] $A", None, [("[BOS]", 1)])
    tokenizer.post_processor = two_first
    with pytest.raises(UsageError, match=r"no prompt of exactly 1 tokens .* --prompt-tokens 2"):
        of_length(tokenizer, 1)


def test_the_text_is_long_enough_to_differ_within_a_prompt():
    assert len(TEXT.split()) > 150
