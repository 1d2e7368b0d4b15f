"""The text that shows what a model's activations look like."""

from dataclasses import dataclass
from pathlib import Path

from edgellm.errors import UsageError
from edgellm.graph.text import Text, read_text, read_tokenizer, tokenize

DEFAULT = Path(__file__).with_name("calibration.txt")
"""Prose, dialogue, code, lists, numbers and other languages; written for this purpose."""
SEQUENCE_TOKENS = 512
LEAST_TOKENS = 1024
"""Fewer say too little about a block of some thousand channels."""


@dataclass(frozen=True, slots=True)
class CalibrationUsed:
    """The text that shaped a model, as a step records it: evaluation refuses the same text."""

    name: str
    sha256: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A text as token sequences of at most ``SEQUENCE_TOKENS``."""

    text: Text
    sequences: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens in all sequences."""
        return sum(map(len, self.sequences))

    @property
    def used(self) -> CalibrationUsed:
        """What a step records of it."""
        return CalibrationUsed(self.text.name, self.text.sha256, self.tokens)


def load_calibration(
    tokenizer: Path, path: Path | None = None, longest: int = SEQUENCE_TOKENS
) -> Calibration:
    """Read a calibration text and cut it into sequences.

    Args:
        tokenizer: The model's ``tokenizer.json``.
        path: A UTF-8 text; the one that ships with edgellm where None.
        longest: Tokens that the model can take, where those are fewer than ``SEQUENCE_TOKENS``.

    Raises:
        UsageError: The file is missing, not UTF-8, or too short.
    """
    text = read_text(path or DEFAULT)
    tokens = tokenize(text, read_tokenizer(tokenizer))
    if len(tokens.ids) < LEAST_TOKENS:
        raise UsageError(
            f"{path or DEFAULT} has {len(tokens.ids)} tokens, calibration needs {LEAST_TOKENS}: "
            "give a longer text, or leave --calibration out for the one that ships"
        )
    step = min(longest, SEQUENCE_TOKENS) - len(tokens.prefix)
    starts = range(0, len(tokens.ids), step)
    return Calibration(text, tuple((*tokens.prefix, *tokens.ids[s : s + step]) for s in starts))
