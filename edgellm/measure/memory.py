"""Memory of this process, as the kernel keeps it."""

import resource
from pathlib import Path

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


def status_bytes(key: str, root: Path, path: str = "proc/self/status") -> int | None:
    """Return a ``key: N kB`` line of a proc file in bytes; None where it is missing."""
    try:
        lines = (root / path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        number = rest.removesuffix("kB").strip()
        if name == key and number.isdecimal():
            return int(number) * 1024
    return None
