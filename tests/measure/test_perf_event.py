import errno
import os
import re
import struct

import pytest

from edgellm.errors import EdgellmError
from edgellm.measure.perf_event import (
    EXCLUDE_KERNEL,
    INHERIT,
    TYPE_SOFTWARE,
    Event,
    PerfCounters,
    open_event,
    why,
)
from edgellm.records.samples import CounterInfo, CounterSample

TASK_CLOCK = 1


@pytest.fixture
def pipes():
    """Descriptors to read from, each filled with counter readings."""
    opened = []

    def make(*readings):
        read, write = os.pipe()
        os.write(write, b"".join(struct.pack("=QQQ", *reading) for reading in readings))
        os.close(write)
        opened.append(read)
        return read

    yield make
    for descriptor in opened:
        os.close(descriptor)


def machine(tmp_path, paranoid):
    path = tmp_path / "proc/sys/kernel/perf_event_paranoid"
    path.parent.mkdir(parents=True)
    path.write_text(f"{paranoid}\n")
    return tmp_path


def test_a_group_is_read_at_once(pipes):
    leader = pipes((2, 7, 6), (10, 11, 0))
    infos = [CounterInfo("cycles", "a test"), CounterInfo("instructions", "a test")]
    counters = PerfCounters(dict(zip(infos, (leader, -1), strict=True)), grouped=True)
    assert counters.read(0) == (CounterSample(10, 7, 6), CounterSample(11, 7, 6))


@pytest.mark.parametrize("grouped", [True, False])
def test_counters_that_vanish_are_no_count(pipes, grouped):
    counters = PerfCounters({CounterInfo("cycles", "a test"): pipes()}, grouped=grouped)
    with pytest.raises(EdgellmError, match=r"gave 0 of .* bytes .* took them away"):
        counters.read(0)


def test_a_reading_that_fails_says_what_to_stop():
    counters = PerfCounters({CounterInfo("cycles", "a test"): -1})
    with pytest.raises(EdgellmError, match="vanished while they were read"):
        counters.read(0)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOENT, "no such hardware counter, as virtual machines usually do; .*(ENOENT)"),
        (errno.EOPNOTSUPP, "no such hardware counter"),
        (errno.ENOSYS, "no perf_event_open here .*(ENOSYS)"),
        (errno.EMFILE, "ulimit -n 4096"),
        (errno.EBUSY, "another program holds the counters"),
    ],
)
def test_a_refusal_says_why_and_what_mends_it(tmp_path, number, sentence):
    assert re.search(sentence, why(OSError(number, os.strerror(number)), tmp_path))


def test_a_high_paranoid_level_comes_with_the_command_that_lowers_it(tmp_path):
    root = machine(tmp_path, 4)
    assert why(PermissionError(errno.EACCES, "no"), root) == (
        "perf_event_paranoid is 4 and counting needs 2 or less: "
        "sudo sysctl kernel.perf_event_paranoid=2 (EACCES)"
    )


def test_a_refusal_at_a_low_paranoid_level_points_to_the_sandbox(tmp_path):
    root = machine(tmp_path, 1)
    assert "so a sandbox forbids it" in why(PermissionError(errno.EPERM, "no"), root)


def test_the_attribute_is_the_first_version_of_the_kernels_structure():
    packed = Event(kind=0, config=1, exclude_kernel=True).pack()
    kind, size, config, period, sample, read_format, flags = struct.unpack_from("=IIQQQQQ", packed)
    assert (kind, size, config, period, sample) == (0, 64, 1, 0, 0)
    assert len(packed) == 64
    assert read_format == 3
    assert flags & INHERIT
    assert flags & EXCLUDE_KERNEL
    assert not Event(kind=0, config=1).pack()[40] & EXCLUDE_KERNEL
    assert Event(kind=0, config=1, grouped=True).pack()[32] == 3 | 8


def test_a_software_event_counts_on_this_kernel():
    try:
        descriptor = open_event(Event(TYPE_SOFTWARE, TASK_CLOCK, exclude_kernel=True), -1)
    except OSError as error:
        pytest.skip(f"the kernel refuses perf_event_open here: {error}")
    counters = PerfCounters({CounterInfo("task_clock", "a test"): descriptor})
    before = counters.read(0)[0]
    sum(range(100_000))
    after = counters.read(0)[0]
    counters.close()
    assert after.value > before.value
    assert after.running_ns == after.enabled_ns > before.enabled_ns
