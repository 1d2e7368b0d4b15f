"""Cut a text into windows so that each of its tokens is predicted once, with enough before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.errors import UsageError
from edgellm.graph.text import Tokens


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids, of which those from ``scored`` on are predicted from those before them."""

    ids: tuple[int, ...]
    scored: int

    @property
    def targets(self) -> tuple[int, ...]:
        """The tokens that are scored."""
        return self.ids[self.scored :]


def cut(tokens: Tokens, context: int, stride: int) -> list[Window]:
    """Cut a text into windows of at most ``context`` tokens.

    The first window is scored whole, but for a token that nothing precedes; each later one moves on
    by ``stride`` tokens and scores those that are new, so they have at least
    ``context - stride`` tokens before them.

    Raises:
        UsageError: The sizes contradict each other, or the text is shorter than two tokens.
    """
    room = context - len(tokens.prefix)
    if not 0 < stride <= room - 1:
        raise UsageError(
            f"a stride of {stride} in windows of {context} tokens is not possible: "
            f"give 1 to {max(room - 1, 1)}"
        )
    total = len(tokens.ids)
    if total < 2:
        raise UsageError(f"the text has {total} tokens: there is nothing to predict")
    ends = [min(room, total)]
    while ends[-1] < total:
        ends.append(min(ends[-1] + stride, total))
    return [_window(tokens, end, before, room) for before, end in _pairs(ends)]


def _pairs(ends: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip([0, *ends], ends, strict=False))


def _window(tokens: Tokens, end: int, before: int, room: int) -> Window:
    start = max(end - room, 0)
    ids = (*tokens.prefix, *tokens.ids[start:end])
    return Window(ids, max(len(ids) - (end - before), 1))
