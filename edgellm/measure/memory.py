"""Memory of this process, as the kernel keeps it."""

import resource
from dataclasses import dataclass
from pathlib import Path

STATUS = "proc/self/status"
ROLLUP = "proc/self/smaps_rollup"

RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: sets the peak to what is resident now


def reset_peak(root: Path = Path("/")) -> bool:
    """Set the peak to what is resident now; return whether the kernel allowed it."""
    try:
        (root / "proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def rss_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes of this process that are in memory now; None where unknown."""
    return status_bytes("VmRSS", root)


def peak_rss_bytes(root: Path = Path("/")) -> int:
    """Return the most bytes of this process that were in memory, since the last reset if any."""
    peak = status_bytes("VmHWM", root)
    return peak if peak is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True, slots=True)
class Resident:
    """What is in memory, by what backs it.

    Attributes:
        pss_bytes: Shared pages divided among those who share them; None before Linux 4.14.
        anonymous_bytes: What no file backs.
        file_bytes: What files back. Both are parts of the PSS where the kernel splits it (Linux
            5.9), else of what is resident.
    """

    pss_bytes: int | None
    anonymous_bytes: int | None
    file_bytes: int | None


def resident(root: Path = Path("/")) -> Resident:
    """Return what of this process is in memory; it walks the page tables, so not while timing."""
    rollup, status = fields(root / ROLLUP), fields(root / STATUS)
    parts = [rollup.get(key) for key in ("Pss_Anon", "Pss_File")]
    if None in parts:
        parts = [status.get(key) for key in ("RssAnon", "RssFile")]
    return Resident(rollup.get("Pss"), *parts)


@dataclass(frozen=True, slots=True)
class Faults:
    """Page faults of this process since it began.

    Attributes:
        minor: Those that needed no disk.
        major: Those that did.
    """

    minor: int
    major: int


def faults() -> Faults:
    """Return the page faults so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def status_bytes(key: str, root: Path, path: str = STATUS) -> int | None:
    """Return a ``key: N kB`` line of a proc file in bytes; None where it is missing."""
    return fields(root / path).get(key)


def fields(path: Path) -> dict[str, int]:
    """Return the ``key: N kB`` lines of a proc file in bytes."""
    try:
        return parse(path.read_text())
    except OSError:
        return {}


def parse(text: str) -> dict[str, int]:
    """Return the ``key: N kB`` lines of a text in bytes; other lines are left out.

    Example:
        >>> parse("Name: python\nVmRSS:  2 kB\nVmSwap: none kB\n")
        {'VmRSS': 2048}
    """
    found = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        number = rest.removesuffix("kB").strip()
        if rest.endswith("kB") and number.isdecimal():
            found[key] = int(number) * 1024
    return found
