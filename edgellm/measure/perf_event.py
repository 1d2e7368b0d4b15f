"""Hardware counters of the kernel: ``perf_event_open`` through ctypes; see its manual page.

Open them before the threads whose work they are to count: a counter is inherited by threads that
start later, and by no other.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgellm.errors import EdgellmError
from edgellm.records.samples import CounterInfo, CounterSample

SYSCALL = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "riscv64": 241}

TYPE_HARDWARE = 0
TYPE_SOFTWARE = 1
TYPE_RAW = 4  # on x86, the PMU of every core where all are of one kind
NO_GROUP = -1

READ_TIMES = 0b0011  # PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING
READ_GROUP = 0b1000  # PERF_FORMAT_GROUP
READING = struct.Struct("=QQQ")  # value, enabled, running; of a group: events, enabled, running
VALUE_BYTES = 8

INHERIT = 1 << 1
EXCLUDE_KERNEL = 1 << 5
EXCLUDE_HYPERVISOR = 1 << 6

ATTRIBUTE_BYTES = 64  # PERF_ATTR_SIZE_VER0: every kernel takes it


@dataclass(frozen=True, slots=True)
class Event:
    """One event of ``perf_event_attr``; counts this thread and the threads that it starts.

    Attributes:
        kind: The number of the PMU, or of a general type.
        config: The number of the event.
        exclude_kernel: Count user mode only.
        grouped: One read returns the whole group.
    """

    kind: int
    config: int
    exclude_kernel: bool = False
    grouped: bool = False

    def pack(self) -> bytes:
        """Return the first version of ``struct perf_event_attr``."""
        flags = INHERIT
        if self.exclude_kernel:
            flags |= EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR
        read_format = READ_TIMES | (READ_GROUP if self.grouped else 0)
        head = (self.kind, ATTRIBUTE_BYTES, self.config, 0, 0, read_format, flags)
        return struct.pack("=IIQQQQQ", *head).ljust(ATTRIBUTE_BYTES, b"\0")


Open = Callable[[Event, int], int]
"""Opens an event in the group of a file descriptor (-1: a new group); raises OSError."""


def open_event(event: Event, group: int) -> int:
    """Return a file descriptor that counts ``event``.

    Raises:
        OSError: The kernel refused; ``errno`` says why.
    """
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no call number is known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    attribute = ctypes.create_string_buffer(event.pack(), ATTRIBUTE_BYTES)
    this_thread, any_cpu, close_on_exec = 0, -1, 8
    descriptor: int = libc.syscall(number, attribute, this_thread, any_cpu, group, close_on_exec)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


class PerfCounters:
    """Open events of one group, which the kernel schedules as a whole, so that ratios hold.

    Args:
        descriptors: What each counts, the group's leader first.
        grouped: They were opened to be read at once; kernels before 4.13 refuse that for events
            that are inherited.
    """

    def __init__(self, descriptors: dict[CounterInfo, int], *, grouped: bool = False) -> None:
        self._descriptors = descriptors
        self._grouped = grouped

    @property
    def infos(self) -> tuple[CounterInfo, ...]:
        """What each counter counts."""
        return tuple(self._descriptors)

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:  # noqa: ARG002 - the protocol's
        """Return the totals since opening; times are the sum over threads.

        Raises:
            EdgellmError: The counters are gone: what was counted before is no measurement.
        """
        descriptors = self._descriptors.values()
        if not self._grouped:
            readings = (_exactly(descriptor, READING.size) for descriptor in descriptors)
            return tuple(CounterSample(*READING.unpack(reading)) for reading in readings)
        size = READING.size + VALUE_BYTES * len(descriptors)
        data = _exactly(next(iter(descriptors)), size)
        _, enabled, running = READING.unpack_from(data)
        values = struct.unpack_from(f"={len(descriptors)}Q", data, READING.size)
        return tuple(CounterSample(value, enabled, running) for value in values)

    def drop_last(self) -> CounterInfo:
        """Close the last event and return what it was; the others go on."""
        info, descriptor = self._descriptors.popitem()
        os.close(descriptor)
        return info

    def close(self) -> None:
        """Close the events; reading is over."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _exactly(descriptor: int, size: int) -> bytes:
    """Read one reading; the kernel gives nothing of a counter that it took away."""
    try:
        data = os.read(descriptor, size)
    except OSError as error:
        raise EdgellmError(
            f"the hardware counters vanished while they were read ({error.strerror}); "
            "nothing else may use them meanwhile: stop other profilers and measure again"
        ) from error
    if len(data) != size:
        raise EdgellmError(
            f"the kernel gave {len(data)} of {size} bytes of the hardware counters, so it took "
            "them away during the run; stop other profilers and measure again"
        )
    return data


NO_HARDWARE = (
    "this machine has no such hardware counter, as virtual machines usually do; "
    "measure on the board itself, or give the virtual machine its PMU (KVM: -cpu host,pmu=on)"
)
REASONS = {
    errno.ENOENT: NO_HARDWARE,
    errno.EOPNOTSUPP: NO_HARDWARE,
    errno.ENODEV: NO_HARDWARE,
    errno.ENOSYS: "there is no perf_event_open here (an emulator, or a kernel without it); "
    "use a kernel with CONFIG_PERF_EVENTS",
    errno.EMFILE: "too many files are open; raise the limit: ulimit -n 4096",
    errno.EBUSY: "another program holds the counters; stop it and measure again",
}


def why(error: OSError, root: Path) -> str:
    """Return the reason, its errno, and what would mend it."""
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{_refusal(root)} ({name})"
    return f"{REASONS.get(error.errno or 0, error.strerror or 'unknown')} ({name})"


def _refusal(root: Path) -> str:
    try:
        level = int((root / "proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return "the kernel does not let this process count, as in many containers; run outside it"
    if level > 2:
        return (
            f"perf_event_paranoid is {level} and counting needs 2 or less: "
            "sudo sysctl kernel.perf_event_paranoid=2"
        )
    return (
        f"perf_event_paranoid is {level}, which allows counting, so a sandbox forbids it: "
        "run outside the container or allow perf_event_open in its seccomp profile"
    )
