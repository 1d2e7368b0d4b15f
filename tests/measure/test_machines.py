"""Every probe on every recorded machine of ``tests/data/machines``."""

import errno
import os
import platform
from dataclasses import dataclass

import pytest

from edgellm.measure.counters import open_counters
from edgellm.measure.environment import environment, state
from edgellm.measure.power import find_meters
from edgellm.measure.reference import find_rate
from edgellm.measure.sampler import Sampler
from edgellm.measure.throttle import describe

GHZ, MIB = 1e9, 2**20
X86_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx_vnni")
A76_FEATURES = ("asimd", "asimdhp", "asimddp")


@dataclass(frozen=True)
class Expected:
    """What the probes say; ``counters`` is of a kernel that grants every event."""

    name: str
    cpu: str
    features: tuple[str, ...]
    rate_hz: float
    clocks_ghz: dict[str, float]
    governors: set[str]
    hottest: tuple[int, float]
    throttle: tuple[str, ...]
    watts: dict[str, float | None]
    memory_mib: tuple[int, int, int]
    virtual: bool = False
    arch: str = "aarch64"
    pmu: str | None = None


EXPECTED = {
    "raspberry-pi-3b": Expected(
        "Raspberry Pi 3 Model B Rev 1.2",
        "Cortex-A53",
        ("asimd",),
        19.2e6,
        {"policy0": 1.2},
        {"ondemand"},
        (1, 56.4),
        ("frequency capped now", "frequency capped since boot"),
        {},
        (909, 787, 36),
        pmu="armv8_cortex_a53",
    ),
    "raspberry-pi-zero-2-w": Expected(
        "Raspberry Pi Zero 2 W Rev 1.0",
        "Cortex-A53",
        ("asimd",),
        19.2e6,
        {"policy0": 1.0},
        {"ondemand"},
        (1, 56.4),
        (
            *("under-voltage now", "throttled now"),
            *("under-voltage since boot", "throttled since boot"),
        ),
        {},
        (427, 258, 4),
        pmu="armv8_cortex_a53",
    ),
    "raspberry-pi-4b": Expected(
        "Raspberry Pi 4 Model B Rev 1.1",
        "Cortex-A72",
        ("asimd",),
        54e6,
        {"policy0": 1.8},
        {"performance"},
        (1, 46.7),
        (),
        {},
        (958, 711, 0),
        pmu="armv8_cortex_a72",
    ),
    "raspberry-pi-5": Expected(
        "Raspberry Pi 5 Model B Rev 1.0",
        "Cortex-A76",
        A76_FEATURES,
        54e6,
        {"policy0": 2.4},
        {"ondemand"},
        (1, 25.4),
        (),
        {"PMIC": 10.799894},
        (4096, 3891, 0),
        pmu="armv8_cortex_a76",
    ),
    "orange-pi-5": Expected(
        "Orange Pi 5",
        "Cortex-A55",
        A76_FEATURES,
        24e6,
        {"policy0": 1.8, "policy4": 2.4, "policy6": 0.408},
        {"ondemand"},
        (7, 27.8),
        (),
        {},
        (7987, 7577, 0),
        pmu="armv8_cortex_a",
    ),
    "jetson-orin-nano": Expected(
        "NVIDIA Orin Nano Developer Kit",
        "Cortex-A78AE",
        A76_FEATURES,
        31.25e6,
        {"policy0": 1.51, "policy4": 0.115},
        {"schedutil"},
        (1, 47.8),
        (),
        {"VDD_IN": 4.848, "VDD_CPU_GPU_CV": 0.68544, "VDD_SOC": 1.4948},
        (7372, 5939, 0),
        pmu="armv8_cortex_a78",
    ),
    "intel-n100": Expected(
        "EQ",
        "Intel(R) N100",
        X86_FEATURES,
        806.4e6,
        {"policy0": 3.15, "policy1": 3.135, "policy2": 3.263, "policy3": 2.97},
        {"powersave"},
        (1, 59.0),
        ("2 core throttle events since boot",),
        {"package-0": None, "package-0/core": None, "package-0/uncore": None},
        (15738, 14551, 0),
        arch="x86_64",
        pmu="cpu",
    ),
    "container-without-permission": Expected(
        "EQ",
        "Intel(R) N100",
        X86_FEATURES,
        806.4e6,
        {"policy0": 3.15, "policy1": 3.135, "policy2": 3.263, "policy3": 2.97},
        {"powersave"},
        (1, 81.0),
        ("2 core throttle events since boot",),
        {},
        (15738, 14551, 0),
        arch="x86_64",
    ),
    "vm-without-counters": Expected(
        "Intel(R) Xeon(R) Processor",
        "Intel(R) Xeon(R) Processor",
        (*X86_FEATURES, "avx512f", "avx512_vnni", "amx_tile", "amx_int8", "amx_bf16"),
        2_599_995_000,
        {"cpuinfo": 2.599998},
        set(),
        (0, 0.0),
        (),
        {},
        (24105, 23209, 0),
        virtual=True,
        arch="x86_64",
    ),
}
REFUSALS = {
    "vm-without-counters": errno.ENOENT,
    "container-without-permission": errno.EPERM,
}


@pytest.fixture(params=EXPECTED)
def recorded(request, unpack_machine, monkeypatch):
    """Give a machine and what is expected of it; this process seems to run there."""
    machine, expected = unpack_machine(request.param), EXPECTED[request.param]
    monkeypatch.setattr(platform, "machine", lambda: expected.arch)
    text = (machine.root / "proc/cpuinfo").read_text()
    cores = text.count("processor\t")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    return request.param, machine, expected


def test_the_machine_is_named_with_its_core_and_what_decides_kernels(recorded):
    _, machine, expected = recorded
    now = state(machine.root, machine.ask)
    found, _ = environment(now, now, {}, machine.root)
    assert found.name == expected.name
    assert found.cpu_model == expected.cpu
    assert found.features == expected.features
    assert found.virtual == expected.virtual
    assert {policy.governor for policy in found.policies} == expected.governors


def test_the_state_is_read_in_plain_units(recorded):
    _, machine, expected = recorded
    now = state(machine.root, machine.ask)
    assert {n: hz / GHZ for n, hz in now.frequency_hz.items()} == pytest.approx(expected.clocks_ghz)
    heat = now.temperature_celsius.values()
    assert (len(heat), max(heat, default=0.0)) == expected.hottest
    assert describe(now.throttle) == expected.throttle
    assert now.cpu_time.busy_ns > 0
    assert now.load_average is not None


def test_memory_and_swap_are_read(recorded):
    _, machine, expected = recorded
    now = state(machine.root, machine.ask)
    found, _ = environment(now, now, {}, machine.root)
    installed, available, swapped = expected.memory_mib
    assert found.memory_bytes // MIB == installed
    assert now.swap_used_bytes // MIB == swapped
    assert now.memory_available_bytes // MIB == available


def test_the_rate_of_the_constant_counter_is_known(recorded):
    _, machine, expected = recorded
    assert find_rate(expected.arch, machine.root).hz == pytest.approx(expected.rate_hz)


def test_counters_step_down_with_a_reason(recorded):
    name, machine, expected = recorded
    refusal = REFUSALS.get(name)

    def open_event(event, group):
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return os.open("/dev/zero", os.O_RDONLY)

    with open_counters(open_event=open_event, root=machine.root) as opened:
        names = [info.name for info in opened.counters.infos]
        if expected.pmu:
            assert names[:2] == ["cycles", "instructions"]
            assert expected.pmu in opened.counters.infos[0].source
        else:
            assert names == ["reference_cycles"]
            assert errno.errorcode[refusal] in opened.missing[0].why


def test_power_rails_are_found_and_read(recorded):
    _, machine, expected = recorded
    meters, missing = find_meters(machine.root, machine.ask)
    found = {m.name: None if m.counts_energy else m.read() for m in meters}
    for meter in meters:
        meter.close()
    assert found == pytest.approx(expected.watts, abs=1e-4)
    assert bool(missing) == (not expected.watts)


def test_a_sampler_sees_what_the_state_says(recorded):
    _, machine, expected = recorded
    ticks = iter(range(0, 10**12, 10**6))
    with Sampler(lambda: next(ticks), 0, root=machine.root, ask=machine.ask) as sampler:
        pass
    timeline = sampler.timeline()
    first, now = timeline.samples[0], state(machine.root, machine.ask)
    clocks = {name: hz for name, hz in now.frequency_hz.items() if name != "cpuinfo"}
    assert first.frequency_hz == clocks
    assert first.temperature_celsius == now.temperature_celsius
    assert first.swap_used_bytes == now.swap_used_bytes
    assert {rail.name for rail in timeline.rails} == set(expected.watts)
    assert all(bool(rail.watts) != bool(rail.joules) for rail in timeline.rails)
