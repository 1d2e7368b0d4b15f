"""Keeps the process on chosen cores; its threads inherit that, so it comes before the session."""

import os
import re

from edgellm.errors import UsageError


def parse(text: str) -> frozenset[int]:
    """Return the cores of a list such as ``0-3,6``.

    Raises:
        UsageError: Not such a list.
    """
    cores: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"{text!r} is no list of cores: write it like 0-3 or 0,2")
        cores.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(cores)


def pin(cores: frozenset[int]) -> None:
    """Keep this process, and the threads that it starts from now on, on ``cores``.

    Raises:
        UsageError: The machine lacks one of them, or cannot do it.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("this system cannot keep a process on cores: leave --cpus out")
    missing = sorted(cores - os.sched_getaffinity(0))
    if missing:
        have = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        raise UsageError(f"core {missing[0]} is not available here; there are {have}")
    os.sched_setaffinity(0, cores)
