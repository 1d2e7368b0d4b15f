import struct

import pytest

from edgellm.measure.reference import Rate, ReferenceCounter, cpuinfo, find_rate
from edgellm.records.samples import CounterSample, Unavailable

X86 = "processor\t: 0\nflags\t\t: fpu tsc {flags}\nbogomips\t: 5199.99\n\nbogomips\t: 1.00\n"
PI_4 = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n"


def machine(tmp_path, text, files=()):
    for name, content in [("proc/cpuinfo", text.encode()), *files]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_a_constant_tsc_has_half_of_bogomips(tmp_path):
    root = machine(tmp_path, X86.format(flags="constant_tsc"))
    rate = find_rate("x86_64", root)
    assert rate.hz == pytest.approx(2_599_995_000)
    assert "BogoMIPS" in rate.source


def test_a_tsc_that_is_not_constant_is_no_reference(tmp_path):
    rate = find_rate("x86_64", machine(tmp_path, X86.format(flags="")))
    assert isinstance(rate, Unavailable)
    assert "does not say the rate" in rate.why


def test_the_tsc_module_is_preferred(tmp_path):
    files = [("sys/devices/system/cpu/cpu0/tsc_freq_khz", b"2596120\n")]
    root = machine(tmp_path, X86.format(flags="constant_tsc"), files)
    assert find_rate("x86_64", root).hz == 2_596_120_000


def test_the_timer_of_a_raspberry_pi_4_ticks_at_54_mhz(tmp_path):
    assert find_rate("aarch64", machine(tmp_path, PI_4)).hz == 54e6


def test_the_device_tree_says_the_timers_rate_where_it_holds_it(tmp_path):
    files = [("proc/device-tree/timer/clock-frequency", struct.pack(">I", 24_000_000))]
    assert find_rate("aarch64", machine(tmp_path, PI_4, files)).hz == 24e6


@pytest.mark.parametrize("text", ["", "BogoMIPS\t: fast\n", "BogoMIPS\t: 0.00\n"])
def test_an_unreadable_rate_is_not_guessed(tmp_path, text):
    assert isinstance(find_rate("aarch64", machine(tmp_path, text)), Unavailable)


def test_an_unknown_architecture_is_named(tmp_path):
    assert "known for riscv64" in find_rate("riscv64", tmp_path).why


def test_of_equal_keys_the_first_cores_counts(tmp_path):
    assert cpuinfo(machine(tmp_path, X86.format(flags="")))["bogomips"] == "5199.99"


def test_reference_cycles_are_time_times_rate():
    counter = ReferenceCounter(Rate(54e6, "a test"))
    assert counter.read(2_000_000_000) == (
        CounterSample(108_000_000, 2_000_000_000, 2_000_000_000),
    )
    assert counter.infos[0].rate_hz == 54e6
