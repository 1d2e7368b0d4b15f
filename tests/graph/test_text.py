"""Text from files, and as tokens."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from edgellm.errors import BundleInvalid, UsageError
from edgellm.graph.text import Text, read_text, read_tokenizer, tokenize


def test_the_digest_is_of_the_content_not_of_the_name() -> None:
    assert Text("a", "né").sha256 == Text("b", "né").sha256 != Text("a", "ne").sha256


def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))

    with pytest.raises(UsageError, match=r"latin\.txt is not valid UTF-8: byte 1 is 0xe9"):
        read_text(tmp_path / "latin.txt")


@pytest.mark.parametrize("name", ["", "absent.txt"])
def test_what_is_not_a_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a file; give a UTF-8 text file"):
        read_text(tmp_path / name)


def test_a_long_text_is_not_cut_by_the_tokenizer(byte_tokenizer: Tokenizer) -> None:
    cutting = Tokenizer.from_str(byte_tokenizer.to_str())
    cutting.enable_truncation(4)

    assert len(tokenize(Text("x", "a" * 100), cutting).ids) == 100


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(BundleInvalid, match=r"tokenizer\.json cannot be read"):
        read_tokenizer(tmp_path / "tokenizer.json")
