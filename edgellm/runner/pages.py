"""Where this process's memory lies: what onnxruntime need not keep, and huge pages."""

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

MADV_DONTNEED, MADV_HUGEPAGE, MADV_COLLAPSE = 4, 14, 25  # asm-generic/mman-common.h
HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$")  # the path may be empty


def give_back(file: Path, smaps: Path = Path("/proc/self/smaps")) -> int:
    """Drop the resident pages of every mapping of ``file`` that nobody has written to.

    Opening a session reads all weights once, to pack them for its kernels; what stays mapped is
    what is read in places, such as the rows of an embedding. Its pages come back from the file, or
    from the kernel's cache of it, when they are read again.

    Args:
        file: A file that is mapped.
        smaps: The kernel's list of mappings.

    Returns:
        Bytes whose pages were dropped; 0 where the kernel has no such list.
    """
    try:
        text = smaps.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    dropped = 0
    for start, end in _clean_mappings(text, os.fspath(file.resolve())):
        size = end - start
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_DONTNEED) == 0:
            dropped += size
    return dropped


def collapse(root: Path = Path("/")) -> int:
    """Move large anonymous mappings onto huge pages, as far as the kernel does it (Linux 6.1).

    A decode step reads every weight once, and how fast depends on where its pages happen to lie:
    the same graph opened twice in a process differed by up to 15 % on a virtual machine. On huge
    pages the two come within 2 %, so that they can be compared.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.

    Returns:
        Bytes that were offered; 0 where the kernel has no huge pages.
    """
    try:
        size = int((root / "sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())
        maps = (root / "proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    offered = 0
    for start, end in _anonymous(maps):
        first, last = -(-start // size) * size, end // size * size
        if first < last:
            place, length = ctypes.c_void_p(first), ctypes.c_size_t(last - first)
            libc.madvise(place, length, MADV_HUGEPAGE)
            libc.madvise(place, length, MADV_COLLAPSE)  # what fails stays where it is
            offered += last - first
    return offered


def _anonymous(maps: str) -> Iterator[tuple[int, int]]:
    """Yield the address ranges of private memory that no file backs."""
    for line in maps.splitlines():
        match = HEAD.match(line)
        if match and line.split()[1] == "rw-p" and match[3] in ("", "[heap]"):
            yield int(match[1], 16), int(match[2], 16)


def _clean_mappings(smaps: str, path: str) -> Iterator[tuple[int, int]]:
    """Yield the address ranges that map ``path`` and hold no page of their own."""
    found: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if match := HEAD.match(line):
            is_ours = match[3] == path
            found = (int(match[1], 16), int(match[2], 16)) if is_ours else None
        # A page that was written to is a copy, which the kernel counts as anonymous. (Dirty would
        # also be one that the file's last writer left for the disk.)
        elif found and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield found
