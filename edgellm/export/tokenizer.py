"""What every tokenizer must do, wherever it came from: give text back, and know where to stop."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer

from edgellm.errors import ParityExceeded

PROBES = (
    "Hello, world!  Two spaces, a\ttab,\nand a line.",
    "0123456789 and 3.14",
    "\u4f60\u597d\uff0c\u4e16\u754c",  # Chinese
    "na\u00efve caf\u00e9",
    "\U0001f389 \U0001f469\u200d\U0001f680",  # emoji, one of them joined from two
)
BYTE_DECODERS = {"ByteLevel", "ByteFallback"}
LOSSLESS_NORMALIZERS = {"NFC", "Prepend", "Replace"}  # NFC: the probes are composed already

# Tokens with which models end a text, a turn or a message, whatever their files call them.
END_TOKENS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|endoftext|>",
)


def check_tokenizer(tokenizer: Tokenizer) -> str | None:
    """Encode and decode probes in several scripts, digits and emoji; each must come back.

    Returns:
        None, or why this tokenizer does not promise to give text back and was not checked.

    Raises:
        ParityExceeded: A probe came back changed.
    """
    if (reason := _why_lossy(tokenizer)) is not None:
        return reason
    for probe in PROBES:
        ids = tokenizer.encode(probe, add_special_tokens=False).ids
        back = tokenizer.decode(ids, skip_special_tokens=False)
        if back != probe:
            raise ParityExceeded(
                f"the tokenizer turns {probe!r} into {back!r}: it was rebuilt or saved wrongly"
            )
    return None


def _why_lossy(tokenizer: Tokenizer) -> str | None:
    parts = json.loads(tokenizer.to_str())
    if not _kinds(parts["decoder"], "decoders") & BYTE_DECODERS:
        return "it is not byte-level, so that text outside its vocabulary is lost"
    changing = _kinds(parts["normalizer"], "normalizers") - LOSSLESS_NORMALIZERS
    return f"it normalizes text ({', '.join(sorted(changing))})" if changing else None


def _kinds(part: Mapping[str, Any] | None, members: str) -> set[str]:
    if part is None:
        return set()
    return {kind["type"] for kind in part.get(members, [part])}


def stop_ids(tokenizer: Tokenizer, declared: Iterable[int]) -> tuple[int, ...]:
    """Return the ids that end an answer: those declared first, then the known ones that exist."""
    added = tokenizer.get_added_tokens_decoder()
    known = (tokenizer.token_to_id(token) for token in END_TOKENS)
    return tuple(dict.fromkeys([*declared, *(number for number in known if number in added)]))
