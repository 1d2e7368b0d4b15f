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

from edgellm.records.samples import CYCLES, INSTRUCTIONS, CounterInfo, CounterSample, Unavailable

SYSCALL = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "riscv64": 241}

TYPE_HARDWARE = 0
TYPE_SOFTWARE = 1
HARDWARE_EVENTS = {CYCLES: 0, INSTRUCTIONS: 1}  # PERF_COUNT_HW_*; the first leads the group

READ_TIMES = 0b11  # PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING
READING = struct.Struct("=QQQ")  # value, enabled, running

INHERIT = 1 << 1
EXCLUDE_KERNEL = 1 << 5
EXCLUDE_HYPERVISOR = 1 << 6

ATTRIBUTE_BYTES = 64  # PERF_ATTR_SIZE_VER0: every kernel takes it


@dataclass(frozen=True, slots=True)
class Event:
    """One event of ``perf_event_attr``; counts this thread and the threads that it starts."""

    kind: int
    config: int
    exclude_kernel: bool = False

    def pack(self) -> bytes:
        """Return the first version of ``struct perf_event_attr``."""
        flags = INHERIT
        if self.exclude_kernel:
            flags |= EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR
        head = (self.kind, ATTRIBUTE_BYTES, self.config, 0, 0, READ_TIMES, flags)
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
    """Open events of one group, read one by one.

    The kernel schedules a group as a whole, so their ratio holds. Each is read by itself, because
    kernels before 4.13 refuse to read a group at once whose events are inherited.
    """

    def __init__(self, descriptors: dict[CounterInfo, int]) -> None:
        self._descriptors = descriptors
        self.infos = tuple(descriptors)

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:  # noqa: ARG002 - the protocol's
        """Return the totals since opening; times are the sum over threads."""
        return tuple(
            CounterSample(*READING.unpack(os.read(descriptor, READING.size)))
            for descriptor in self._descriptors.values()
        )

    def close(self) -> None:
        """Close the events; reading is over."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def open_counters(
    *, open_event: Open = open_event, root: Path = Path("/")
) -> tuple[PerfCounters | None, tuple[Unavailable, ...]]:
    """Open cycles and instructions, with the kernel's share where we may, else user mode only.

    Args:
        open_event: Opens one event.
        root: Where ``proc`` is; for tests.

    Returns:
        The counters, None where there are no cycles, and what is missing with its reason.
    """
    descriptors: dict[CounterInfo, int] = {}
    missing = []
    group, exclude_kernel = -1, False
    for name, config in HARDWARE_EVENTS.items():
        try:
            descriptor, exclude_kernel = _open(open_event, config, group, exclude_kernel)
        except OSError as error:
            missing.append(Unavailable(name, _why(error, root)))
            if group < 0:
                break
            continue
        source = f"perf_event_open, {'user mode only' if exclude_kernel else 'user and kernel'}"
        descriptors[CounterInfo(name, source, exclude_kernel)] = descriptor
        group = descriptor if group < 0 else group
    if not descriptors:
        why = missing[0].why
        return None, tuple(Unavailable(name, why) for name in HARDWARE_EVENTS)
    return PerfCounters(descriptors), tuple(missing)


def _open(open_event: Open, config: int, group: int, exclude_kernel: bool) -> tuple[int, bool]:
    """Open one hardware event; without the kernel's share if only that is allowed."""
    try:
        return open_event(Event(TYPE_HARDWARE, config, exclude_kernel), group), exclude_kernel
    except PermissionError:
        if exclude_kernel or group >= 0:
            raise
        return open_event(Event(TYPE_HARDWARE, config, exclude_kernel=True), group), True


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


def _why(error: OSError, root: Path) -> str:
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
