import struct

import pytest

from edgellm.errors import EdgellmError, UsageError
from edgellm.measure.emulation import MAGIC, EmulatedCounter, emulation, open_emulated

CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"


def counts(tmp_path, *values, used=None, magic=MAGIC):
    path = tmp_path / "counts"
    used = len(values) if used is None else used
    path.write_bytes(struct.pack(f"={2 + len(values)}Q", magic, used, *values))
    return path


def write(path, place, value):
    """Put a number into a file of counts: 1 is the threads so far, 2 the first thread's count."""
    with path.open("r+b") as file:
        file.seek(8 * place)
        file.write(struct.pack("=Q", value))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"proc/self/comm": "qemu-aarch64\n"}, "qemu-aarch64, user mode"),
        ({"proc/device-tree/model": "linux,dummy-virt\0"}, "QEMU virt machine"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "tsc hpet\n"}, "without KVM"),
    ],
)
def test_an_emulator_is_recognised(put, files, said):
    assert said in emulation(put(files))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/comm": "python3\n"},
        {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"},
        {
            "proc/device-tree/model": "linux,dummy-virt\0",
            "sys/class/dmi/id/product_name": "KVM Virtual Machine\n",
        },
        {"sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "kvm-clock tsc\n"},
    ],
)
def test_real_counters_are_not_called_emulated(put, files):
    assert emulation(put(files)) is None


def test_the_first_thread_and_those_that_begin_later_are_counted(tmp_path):
    path = counts(tmp_path, 100, 20, 0, 0, used=2)  # two threads, of which one is not the measured
    counter = EmulatedCounter(path, "qemu-aarch64 (cortex-a76)")
    assert counter.read(7)[0].value == 100
    for place, value in ((1, 4), (2, 110), (3, 50), (4, 7), (5, 8)):
        write(path, place, value)
    assert counter.read(9)[0].value == 110 + 7 + 8
    assert counter.infos[0].emulated
    assert counter.infos[0].source == (
        "executed by qemu-aarch64 (cortex-a76), counted by its plugin"
    )


def test_more_threads_than_slots_are_no_count(tmp_path):
    path = counts(tmp_path, 1)
    counter = EmulatedCounter(path, "an emulator")
    write(path, 1, 2)
    with pytest.raises(EdgellmError, match="2 threads ran, more than"):
        counter.read(0)


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no counting plugin writes"):
        EmulatedCounter(counts(tmp_path, 1, magic=1), "an emulator")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be mapped"):
        EmulatedCounter(empty, "an emulator")


def test_the_counter_is_opened_where_its_variable_is_set(tmp_path, put):
    root = put({"proc/self/comm": "qemu-aarch64\n"})
    named = {"EDGELLM_INSTRUCTIONS": str(counts(tmp_path, 5)), "QEMU_CPU": "cortex-a72"}
    assert "qemu-aarch64 (cortex-a72)" in open_emulated(named, root).infos[0].source
    assert open_emulated({}, root) is None
