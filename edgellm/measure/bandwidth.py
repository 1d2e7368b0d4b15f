"""How fast this machine reads memory: a probe of half a second, without a compiler.

``memcmp`` of the C library holds two equal halves against each other. It is written in SIMD on
every platform, reads and does nothing else, and ctypes lets other threads run meanwhile. (On a
Xeon ``memchr`` was two thirds as fast, and numpy's reductions as fast.)
"""

import ctypes
import mmap
import statistics
import threading
from pathlib import Path

from edgellm.measure.clock import Clock, monotonic
from edgellm.measure.memory import status_bytes
from edgellm.records.samples import Unavailable

CACHES = "sys/devices/system/cpu/cpu0/cache"
TIMES_CACHE = 4  # a buffer so many times the last cache leaves little of it there
LEAST_BYTES = 64 << 20
MOST_BYTES = 2 << 30
SHARE_OF_FREE = 8  # at most an eighth of what is available
PROBE_NS = 500_000_000
LEAST_PASSES = 3
UNITS = {"K": 1 << 10, "M": 1 << 20}
SECOND_NS = 1e9


def buffer_bytes(root: Path = Path("/")) -> int | Unavailable:
    """Return how much to read so that caches do not hide the memory."""
    wanted = min(max(LEAST_BYTES, TIMES_CACHE * _last_cache(root)), MOST_BYTES)
    free = status_bytes("MemAvailable", root, "proc/meminfo")
    most = wanted if free is None else free // SHARE_OF_FREE
    size = min(wanted, most) // mmap.PAGESIZE * mmap.PAGESIZE
    if size < LEAST_BYTES // 4:
        return Unavailable("memory bandwidth", "less memory is free than a probe needs; free some")
    return size


def _last_cache(root: Path) -> int:
    sizes = [0]
    for path in (root / CACHES).glob("index*/size"):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text[:-1].isdecimal() and text[-1] in UNITS:
            sizes.append(int(text[:-1]) * UNITS[text[-1]])
    return max(sizes)


def read_bytes_per_s(threads: int, size: int, clock: Clock = monotonic) -> float:
    """Return the rate at which ``threads`` read ``size`` bytes, each its own part.

    The median of passes, all of which begin together and end with the last.
    """
    libc = ctypes.CDLL(None)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    part = size // threads // 2 * 2
    with mmap.mmap(-1, part * threads) as memory:
        first = ctypes.c_char.from_buffer(memory)
        base = ctypes.addressof(first)
        ctypes.memset(base, 1, part * threads)  # a page that was not written to is no memory
        rates = _passes(libc, [base + part * i for i in range(threads)], part, clock)
        del first  # or the map cannot be closed
    return statistics.median(rates)


def _passes(libc: ctypes.CDLL, starts: list[int], part: int, clock: Clock) -> list[float]:
    rates: list[float] = []
    gate = threading.Barrier(len(starts))
    going = True

    def helper(start: int) -> None:
        while True:
            gate.wait()
            if not going:
                return
            libc.memcmp(start, start + part // 2, part // 2)
            gate.wait()

    others = [threading.Thread(target=helper, args=(s,), daemon=True) for s in starts[1:]]
    for thread in others:
        thread.start()
    end = clock() + PROBE_NS
    while clock() < end or len(rates) < LEAST_PASSES:
        gate.wait()
        since = clock()
        libc.memcmp(starts[0], starts[0] + part // 2, part // 2)
        gate.wait()
        rates.append(part * len(starts) * SECOND_NS / (clock() - since))
    going = False
    gate.wait()
    for thread in others:
        thread.join()
    return rates
