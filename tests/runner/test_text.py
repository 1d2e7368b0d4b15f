import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Sequence
from tokenizers.models import BPE

from edgellm.errors import UsageError
from edgellm.records.manifest import ChatRole, ChatTemplate
from edgellm.runner.text import Detokenizer, StopFilter, from_utf8, prompt_ids

few = hypothesis.settings(max_examples=80, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def fallback_tokenizer():
    """Give a tokenizer in which every byte is a token ``<0x..>``, as in SentencePiece models."""
    tokenizer = Tokenizer(BPE({f"<0x{byte:02X}>": byte for byte in range(256)}, []))
    tokenizer.decoder = Sequence([ByteFallback(), Fuse()])
    return tokenizer


def stream(tokenizer, ids):
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.add(token) for token in ids), detokenizer.end()]


@few
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_pieces_make_the_text_and_no_character_is_cut(byte_tokenizer, text):
    pieces = stream(byte_tokenizer, byte_tokenizer.encode(text).ids)

    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@few
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_characters_in_fallback_bytes_are_not_cut_either(fallback_tokenizer, text):
    pieces = stream(fallback_tokenizer, list(text.encode()))

    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_text_comes_as_soon_as_it_is_certain(byte_tokenizer):
    ids = byte_tokenizer.encode("a🦜b").ids

    assert stream(byte_tokenizer, ids) == ["a", "", "", "", "🦜", "b", ""]


def test_bytes_that_are_no_text_are_not_held_back_for_ever(byte_tokenizer):
    broken = byte_tokenizer.encode("é").ids[:1] * 12

    pieces = stream(byte_tokenizer, [*broken, *byte_tokenizer.encode("ok").ids])

    assert "".join(pieces) == "\ufffd" * 12 + "ok"
    assert "\ufffd" in "".join(pieces[:12])


def test_a_character_cut_off_by_the_end_is_shown_as_such(byte_tokenizer):
    ids = byte_tokenizer.encode("a🦜").ids[:-1]

    assert "".join(stream(byte_tokenizer, ids)) == "a\ufffd"


def filtered(stops, pieces):
    stop_filter = StopFilter(stops)
    shown = []
    for piece in pieces:
        shown.append(stop_filter.add(piece))
        if stop_filter.hit:
            return "".join(shown), True
    return "".join([*shown, stop_filter.end()]), False


@few
@given(
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.text("ab\n", max_size=3), max_size=12),
)
def test_text_ends_before_the_stop_string_that_is_complete_first(stops, pieces):
    shown, hit = filtered(stops, pieces)

    text = "".join(pieces)
    assert hit == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not hit:
        assert shown == text


def test_a_beginning_that_was_no_stop_string_is_shown():
    assert filtered(["</end>"], ["a<", "/e", "mpty>"]) == ("a</empty>", False)


def test_only_what_may_begin_a_stop_string_is_held_back():
    assert StopFilter(["###"]).add("one ##") == "one "


def test_invalid_utf8_is_named_by_its_byte():
    with pytest.raises(UsageError, match=r"prompt\.txt is not valid UTF-8: byte 2 is 0xff"):
        from_utf8(b"ab\xff", "prompt.txt")


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused(byte_tokenizer, prompt):
    with pytest.raises(UsageError, match="the prompt is empty"):
        prompt_ids(byte_tokenizer, prompt, None)


def test_a_system_message_goes_where_the_template_says(byte_tokenizer):
    chat = ChatTemplate("", {"user": ChatRole("U", "."), "system": ChatRole("S", ".")}, "A")

    ids = prompt_ids(byte_tokenizer, "hi", chat, "be brief")

    assert byte_tokenizer.decode(ids) == "Sbe brief.Uhi.A"


def test_a_system_message_without_a_place_is_refused(byte_tokenizer):
    chat = ChatTemplate("", {"user": ChatRole("U", ".")}, "A")

    with pytest.raises(UsageError, match="takes no system message"):
        prompt_ids(byte_tokenizer, "hi", chat, "be brief")
    with pytest.raises(UsageError, match="--system needs a chat template"):
        prompt_ids(byte_tokenizer, "hi", None, "be brief")
