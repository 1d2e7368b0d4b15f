"""Small text files of ``/proc`` and ``/sys``: once, or again and again through one descriptor."""

import os
from pathlib import Path

LONGEST = 4096  # one page is the most that a file of /sys holds


def text(path: Path) -> str | None:
    """Return a file's text without what surrounds it; None where it cannot be read.

    Sensors answer with an error while their device sleeps, so this is no fault.
    """
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def integer(path: Path, base: int = 10) -> int | None:
    """Return the number in a file; None where there is none."""
    try:
        return int(text(path) or "", base)
    except ValueError:
        return None


def folders(parent: Path, pattern: str) -> list[Path]:
    """Return what matches in ``parent``, ``zone10`` after ``zone9``."""
    return sorted(parent.glob(pattern), key=lambda path: (len(path.name), path.name))


class Rereadable:
    """A file that stays open and is read from its start each time, for one system call a reading.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def text(self) -> str:
        """Return what it says now.

        Raises:
            OSError: The device does not answer, or is gone.
        """
        return os.pread(self._descriptor, LONGEST, 0).decode(errors="replace")

    def close(self) -> None:
        """Close the file; reading is over."""
        os.close(self._descriptor)


class Sensor:
    """Files that hold a whole number each; a reading is their sum.

    Args:
        paths: The files.
        base: Of the digits.

    Raises:
        OSError: One cannot be opened.
    """

    def __init__(self, *paths: Path, base: int = 10) -> None:
        self._base = base
        self._files = [Rereadable(path) for path in paths]

    def __call__(self) -> int:
        """Return what they say now.

        Raises:
            OSError: A device does not answer, or is gone.
            ValueError: One says no number.
        """
        return sum(int(file.text(), self._base) for file in self._files)

    def close(self) -> None:
        """Close the files; reading is over."""
        for file in self._files:
            file.close()
