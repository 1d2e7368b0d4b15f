import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from edgellm.errors import ParityExceeded
from edgellm.export.tokenizer import check_tokenizer, stop_ids


def test_a_tokenizer_that_gives_text_back_passes(plain_tokenizer):
    assert check_tokenizer(plain_tokenizer) is None


def test_a_tokenizer_that_changes_text_is_refused_with_the_text(plain_tokenizer):
    plain_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)

    with pytest.raises(ParityExceeded, match=r"turns 'Hello, world.*into ' Hello, world"):
        check_tokenizer(plain_tokenizer)


def test_a_tokenizer_that_loses_bytes_is_refused():
    alphabet = [char for char in pre_tokenizers.ByteLevel.alphabet() if char < "\u0080"]
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()

    with pytest.raises(ParityExceeded):
        check_tokenizer(tokenizer)


def test_a_tokenizer_that_promises_nothing_is_skipped_with_the_reason(plain_tokenizer):
    plain_tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    assert check_tokenizer(plain_tokenizer) == "it normalizes text (Lowercase)"

    plain_tokenizer.decoder = decoders.WordPiece()
    assert "not byte-level" in (check_tokenizer(plain_tokenizer) or "")


def test_stops_are_those_declared_and_the_known_ones_that_are_special(plain_tokenizer):
    plain_tokenizer.add_special_tokens([AddedToken("<|endoftext|>"), AddedToken("<|im_end|>")])
    end_of_text, end_of_turn = 256, 257

    assert stop_ids(plain_tokenizer, [7, end_of_turn]) == (7, end_of_turn, end_of_text)


def test_a_stop_that_is_an_ordinary_word_is_not_one():
    tokenizer = Tokenizer(models.BPE({"<|end|>": 0}, []))

    assert stop_ids(tokenizer, []) == ()
