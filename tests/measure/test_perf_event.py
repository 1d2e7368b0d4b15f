import errno
import os
import struct

import pytest

from edgellm.measure.perf_event import (
    EXCLUDE_KERNEL,
    INHERIT,
    TYPE_SOFTWARE,
    Event,
    PerfCounters,
    open_counters,
    open_event,
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


def refusing(number):
    def open_event(event, group):
        raise OSError(number, os.strerror(number))

    return open_event


def machine(tmp_path, paranoid):
    path = tmp_path / "proc/sys/kernel/perf_event_paranoid"
    path.parent.mkdir(parents=True)
    path.write_text(f"{paranoid}\n")
    return tmp_path


def test_instructions_join_the_group_of_cycles(pipes):
    asked = []

    def open_event(event, group):
        asked.append((event.config, event.exclude_kernel, group))
        return pipes((10 + event.config, 7, 7))

    counters, missing = open_counters(open_event=open_event)
    leader = asked[1][2]
    assert asked == [(0, False, -1), (1, False, leader)]
    assert leader >= 0
    assert [info.name for info in counters.infos] == ["cycles", "instructions"]
    assert counters.read(0) == (CounterSample(10, 7, 7), CounterSample(11, 7, 7))
    assert missing == ()


def test_without_permission_for_the_kernel_user_mode_is_counted_and_said(pipes):
    def open_event(event, group):
        if not event.exclude_kernel:
            raise PermissionError(errno.EACCES, "no")
        return pipes((1, 1, 1))

    counters, _ = open_counters(open_event=open_event)
    assert [info.exclude_kernel for info in counters.infos] == [True, True]
    assert "user mode only" in counters.infos[0].source


def test_cycles_are_kept_where_instructions_are_not_there(pipes):
    def open_event(event, group):
        if event.config == 1:
            raise FileNotFoundError(errno.ENOENT, "no")
        return pipes((1, 1, 1))

    counters, missing = open_counters(open_event=open_event)
    assert [info.name for info in counters.infos] == ["cycles"]
    assert [gap.what for gap in missing] == ["instructions"]


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
def test_a_refusal_says_why_and_what_mends_it(number, sentence):
    counters, missing = open_counters(open_event=refusing(number))
    assert counters is None
    assert [gap.what for gap in missing] == ["cycles", "instructions"]
    with pytest.raises(ValueError, match=sentence):
        raise ValueError(missing[0].why)


def test_a_high_paranoid_level_comes_with_the_command_that_lowers_it(tmp_path):
    root = machine(tmp_path, 4)
    _, missing = open_counters(open_event=refusing(errno.EACCES), root=root)
    assert missing[0].why == (
        "perf_event_paranoid is 4 and counting needs 2 or less: "
        "sudo sysctl kernel.perf_event_paranoid=2 (EACCES)"
    )


def test_a_refusal_at_a_low_paranoid_level_points_to_the_sandbox(tmp_path):
    root = machine(tmp_path, 1)
    _, missing = open_counters(open_event=refusing(errno.EPERM), root=root)
    assert "so a sandbox forbids it" in missing[0].why


def test_the_attribute_is_the_first_version_of_the_kernels_structure():
    packed = Event(kind=0, config=1, exclude_kernel=True).pack()
    kind, size, config, period, sample, read_format, flags = struct.unpack_from("=IIQQQQQ", packed)
    assert (kind, size, config, period, sample) == (0, 64, 1, 0, 0)
    assert len(packed) == 64
    assert read_format == 3
    assert flags & INHERIT
    assert flags & EXCLUDE_KERNEL
    assert not Event(kind=0, config=1).pack()[40] & EXCLUDE_KERNEL


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
