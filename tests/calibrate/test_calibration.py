"""Calibration text: whole, in sequences that the model can take, or refused."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from edgellm.calibrate.calibration import load_calibration
from edgellm.errors import UsageError
from edgellm.records.manifest import TOKENIZER_FILE


def test_every_token_is_in_one_sequence(tiny_stage: Path) -> None:
    found = load_calibration(tiny_stage / TOKENIZER_FILE)

    assert found.tokens == len(found.text.content.encode())
    assert {len(sequence) for sequence in found.sequences[:-1]} == {512}
    assert 0 < len(found.sequences[-1]) <= 512


def test_sequences_begin_as_the_tokenizer_begins_a_text(
    byte_tokenizer: Tokenizer, tmp_path: Path, calibration_file: Path
) -> None:
    changed = Tokenizer.from_str(byte_tokenizer.to_str())
    changed.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 256)]
    )
    changed.save(str(tmp_path / "tokenizer.json"))

    found = load_calibration(tmp_path / "tokenizer.json", calibration_file, longest=64)

    assert {sequence[0] for sequence in found.sequences} == {256}
    assert max(len(sequence) for sequence in found.sequences) == 64
    assert sum(256 in sequence[1:] for sequence in found.sequences) == 0


def test_a_text_that_is_too_short_is_refused(tiny_stage: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")

    with pytest.raises(UsageError, match=r"short\.txt has 10 tokens, calibration needs 1024"):
        load_calibration(tiny_stage / TOKENIZER_FILE, tmp_path / "short.txt")
