"""Text to prompts, and tokens to text as they come."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from edgellm.errors import UsageError
from edgellm.records.manifest import ChatTemplate

UNDECODED = "\ufffd"
# A character is at most 4 bytes, so at most 4 tokens: what is still undecoded after twice that
# will never be a character.
PATIENCE_TOKENS = 8


def from_utf8(data: bytes, source: str) -> str:
    """Decode a prompt; ``source`` says where it came from.

    Raises:
        UsageError: Not UTF-8; the message names the byte.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{source} is not valid UTF-8: byte {error.start} is 0x{data[error.start]:02x}; "
            "convert it, for example with iconv -t UTF-8"
        ) from None


def prompt_ids(
    tokenizer: Tokenizer, prompt: str, chat: ChatTemplate | None, system: str | None = None
) -> tuple[int, ...]:
    """Return the tokens of a prompt.

    Args:
        tokenizer: The bundle's.
        prompt: What the user says.
        chat: The template to put it in; None takes the text as it is.
        system: A system message, for ``chat``.

    Raises:
        UsageError: The prompt is empty, or the template has no place for ``system``.
    """
    if not prompt.strip():
        raise UsageError(
            "the prompt is empty: give some text with --prompt, --prompt-file or stdin"
        )
    if chat is None:
        if system is not None:
            raise UsageError("--system needs a chat template: drop --raw, or put it in the prompt")
        return tuple(tokenizer.encode(prompt).ids)
    messages: tuple[tuple[str, str], ...] = (("user", prompt),)
    if system is not None:
        if "system" not in chat.roles:
            raise UsageError(
                "this model's chat template takes no system message: put it in the prompt"
            )
        messages = (("system", system), *messages)
    # The template holds the special tokens itself.
    return tuple(tokenizer.encode(chat.render(messages), add_special_tokens=False).ids)


class Detokenizer:
    """Turns tokens into text one by one, and never shows a part of a character.

    A token may end inside a character (an emoji is four bytes), and what it decodes to may depend
    on the one before it (a leading space). So each is decoded with the tokens since the last
    clean end and the group before them, and text is held back while it ends undecoded.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._group = 0  # where the tokens begin that are not shown whole
        self._shown = 0  # characters of the window's text that are out

    def add(self, token: int) -> str:
        """Return the text that ``token`` makes certain; it may be empty."""
        self._ids.append(token)
        text = self._decode(self._ids)
        certain = text.rstrip(UNDECODED)
        if len(self._ids) - self._group >= PATIENCE_TOKENS:
            certain = text
        out = certain[self._shown :]
        self._shown = max(self._shown, len(certain))
        if certain == text:
            self._ids = self._ids[self._group :]
            self._group = len(self._ids)
            self._shown = len(self._decode(self._ids))
        return out

    def end(self) -> str:
        """Return what was held back; there will be no more tokens."""
        return self._decode(self._ids)[self._shown :]

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class StopFilter:
    """Passes text on until a stop string appears, which may come in pieces.

    Args:
        stops: The strings; none of them, nor a part of one, is passed on.

    Attributes:
        hit: A stop string has appeared.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.hit = False
        self._stops = tuple(stops)
        self._held = ""

    def add(self, text: str) -> str:
        """Return the text that is certain to be before any stop string."""
        held = self._held + text
        places = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if places:
            self.hit = True
            self._held = ""
            return held[: min(places)]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """Return what was held back; there will be no more text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` begin ``stop``."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
