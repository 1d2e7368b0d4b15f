"""How long work tells its caller where it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many units are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""
