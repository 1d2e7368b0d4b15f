"""Text for calibration and evaluation: read, told apart by digest, and turned into tokens."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from edgellm.errors import BundleInvalid, UsageError
from edgellm.runner.text import from_utf8


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the name that people know it by."""

    name: str
    content: str

    @property
    def sha256(self) -> str:
        """Digest of the text in UTF-8; two names for one text do not make two texts."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the model reads it.

    Attributes:
        ids: Its tokens.
        prefix: What every sequence must begin with: the BOS token, where the tokenizer adds one.
    """

    ids: tuple[int, ...]
    prefix: tuple[int, ...]


def read_text(path: Path) -> Text:
    """Read a UTF-8 file.

    Raises:
        UsageError: The file is missing, or it is not UTF-8.
    """
    try:
        return Text(path.name, from_utf8(path.read_bytes(), str(path)))
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path} is not a file; give a UTF-8 text file") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        BundleInvalid: It is missing or damaged.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise BundleInvalid(f"{path} cannot be read as a tokenizer ({error})") from error


def tokenize(text: Text, tokenizer: Tokenizer) -> Tokens:
    """Return the tokens of a text of any length; nothing is cut off."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.encode(text.content, add_special_tokens=False).ids
    return Tokens(tuple(ids), tuple(tokenizer.encode("").ids[:1]))
