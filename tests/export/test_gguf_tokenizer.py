"""Expected tokens were taken from llama.cpp (llama-cpp-python 0.3.36) on these same files."""

import pytest

from edgellm.errors import BundleInvalid, UnsupportedModel
from edgellm.export.gguf_file import GgufFile
from edgellm.export.gguf_tokenizer import end_ids, merges_of, rebuild_tokenizer

# Written as the vocabulary writes them: a space is \u0120, a line feed \u010a.
SPLIT = {
    "smollm": {
        "ab 1234 ab": "ab \u0120 1 2 3 4 \u0120ab",
        "12 123\n\nab": "1 2 \u0120 1 2 3 \u010a \u010a ab",
        "don'S'S": "d o n ' S ' S",
        "!!\n\n$$ab": "!! \u010a \u010a $$ ab",
        "1ab 12ab": "1 ab \u0120 1 2 ab",
        "\u0663\u0664": "\u00d9 \u00a3 \u00d9 \u00a4",
    },
    "gpt-2": {
        "ab 1234 ab": "ab \u0120 1234 \u0120ab",
        "12 123\n\nab": "12 \u0120 123 \u010a \u010a ab",
        "don'S'S": "d o n ' S ' S",
        "!!\n\n$$ab": "!! \u010a \u010a $$ ab",
        "1ab 12ab": "1 ab \u0120 12 ab",
    },
    "llama-bpe": {
        "ab 1234 ab": "ab \u0120 123 4 \u0120ab",
        "12 123\n\nab": "12 \u0120 123 \u010a\u010a ab",
        "don'S'S": "d o n 'S 'S",
        "!!\n\n$$ab": "!! \u010a\u010a $$ ab",
    },
    "qwen2": {
        "ab 1234 ab": "ab \u0120 1 2 3 4 \u0120ab",
        "12 123\n\nab": "1 2 \u0120 1 2 3 \u010a\u010a ab",
        "don'S'S": "d o n 'S 'S",
    },
    "default": {
        "ab 1234 ab": "ab \u0120 123 4 \u0120ab",
        "12 123\n\nab": "12 \u0120 123 \u010a \u010a ab",
        "!!\n\n$$ab": "!! \u010a\u010a $$ ab",
    },
}
ANY_RULE = {
    "a  ab": "a \u0120 \u0120ab",
    "<|im_start|>ab<|im_end|>": "<|im_start|> ab <|im_end|>",
    "x<think> ab": "x <think> \u0120ab",
    "\u4f60 \U0001f389": "\u00e4 \u00bd \u0142 \u0120 \u00f0 \u0141 \u0130 \u012b",
}

PIECES = ["\u2581", "a", "b", "c", "d", "\u2581a", "ab", "bc", "abc", "\u2581ab", "cd"]
PIECES.append("\u2581\u2581")
SENTENCEPIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.merges": None,
    "tokenizer.ggml.tokens": [
        *("<unk>", "<s>", "</s>"),
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *PIECES,
        "<think>",
    ],
    "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(PIECES) + [4],
    "tokenizer.ggml.scores": [
        *[0.0] * 259,
        *(-20.0, -21.0, -22.0, -23.0, -24.0, -2.0, -4.0, -3.0, -5.0, -6.0, -7.0, -8.0),
        0.0,
    ],
}
PREFIXED = {
    "abcd ab": "\u2581a bc d \u2581ab",
    "a  b\nc": "\u2581a \u2581\u2581 b <0x0A> c",
    "\u00e9 \u4f60": "\u2581 <0xC3> <0xA9> \u2581 <0xE4> <0xBD> <0xA0>",
    "ab<think>ab</s>": "\u2581ab <think> \u2581ab </s>",
    " abc": "\u2581 \u2581a bc",
}
PLAIN = {
    "abcd ab": "abc d \u2581ab",
    "a  b\nc": "a \u2581\u2581 b <0x0A> c",
    "ab<think>ab</s>": "ab <think> ab </s>",
    " abc": "\u2581a bc",
}


@pytest.fixture
def rebuilt(write_gguf):
    return lambda metadata=None: rebuild_tokenizer(GgufFile(write_gguf({}, metadata)))


@pytest.mark.parametrize("rule", SPLIT)
def test_text_is_split_as_llama_cpp_splits_it(rebuilt, rule):
    tokenizer = rebuilt({"tokenizer.ggml.pre": rule})

    for text, tokens in (SPLIT[rule] | ANY_RULE).items():
        encoded = tokenizer.encode(text, add_special_tokens=False)
        assert " ".join(encoded.tokens) == tokens, text
        assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(("prefix", "expected"), [(None, PREFIXED), (False, PLAIN)])
def test_sentencepiece_text_is_cut_as_llama_cpp_cuts_it(rebuilt, prefix, expected):
    tokenizer = rebuilt(SENTENCEPIECE | {"tokenizer.ggml.add_space_prefix": prefix})

    for text, tokens in expected.items():
        encoded = tokenizer.encode(text, add_special_tokens=False)
        assert " ".join(encoded.tokens) == tokens, text
    text = "abcd  \u4f60\n ab"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize(
    ("metadata", "adds"),
    [
        ({}, False),
        ({"tokenizer.ggml.add_bos_token": True}, True),
        ({"tokenizer.ggml.pre": "llama-bpe"}, True),
        ({"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": False}, False),
        (SENTENCEPIECE, True),
    ],
)
def test_bos_is_added_where_the_file_or_its_convention_says_so(rebuilt, metadata, adds):
    tokenizer = rebuilt(metadata)

    plain = tokenizer.encode("ab", add_special_tokens=False).ids
    assert tokenizer.encode("ab").ids == [1] * adds + plain


def test_control_tokens_are_special_and_user_defined_ones_are_text(rebuilt):
    tokenizer = rebuilt()

    ids = tokenizer.encode("<|im_start|>ab<think>").ids
    assert ids[0] == 1
    assert tokenizer.decode(ids) == "ab<think>"


def test_an_unknown_splitting_rule_is_named(rebuilt):
    with pytest.raises(UnsupportedModel, match="'martian'"):
        rebuilt({"tokenizer.ggml.pre": "martian"})


def test_a_missing_splitting_rule_is_not_guessed(rebuilt):
    with pytest.raises(UnsupportedModel, match=r"None \(tokenizer.ggml.pre\)"):
        rebuilt({"tokenizer.ggml.pre": None})


def test_an_unknown_kind_of_tokenizer_is_named(rebuilt):
    with pytest.raises(UnsupportedModel, match="kind 'bert'"):
        rebuilt({"tokenizer.ggml.model": "bert"})


@pytest.mark.parametrize(
    "damage",
    [
        {"tokenizer.ggml.tokens": None},
        {"tokenizer.ggml.tokens": ["a", "a"]},
        {"tokenizer.ggml.token_type": [1, 1]},
        {"tokenizer.ggml.merges": ["a zebra"]},
        {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 9999},
        SENTENCEPIECE | {"tokenizer.ggml.scores": [1.0]},
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(rebuilt, damage):
    with pytest.raises(BundleInvalid, match=r"tiny.gguf"):
        rebuilt(damage)


def test_merges_follow_from_scores_best_first():
    scores = {"a": -9.0, "b": -9.0, "c": -9.0, "bc": -1.0, "ab": -2.0, "abc": -3.0}

    assert merges_of(scores) == [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]


def test_the_ends_that_a_file_names_are_found(write_gguf):
    file = GgufFile(write_gguf({}, {"tokenizer.ggml.eot_token_id": 7}))

    assert end_ids(file) == (2, 7)
