import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edgellm.measure.hardware import find_wanted, open_hardware
from edgellm.measure.perf_event import TYPE_HARDWARE
from edgellm.records.samples import CounterSample

COUNT_LOOP = Path(__file__).parents[2] / "scripts/count_loop"
A76_EVENTS = [
    "cpu_cycles",
    "inst_retired",
    "stall_backend",
    "l1d_cache_refill",
    "ll_cache_miss_rd",
    "br_mis_pred",
    "bus_access",
]


class Kernel:
    """Opens events of which each is a file that holds the group's or its own reading.

    ``counters`` is how many events run at once; a group of more is opened but never scheduled.
    """

    def __init__(self, folder, *, refuse=lambda event: None, counters=99):
        self.folder, self.refuse, self.counters = folder, refuse, counters
        self.asked, self.open = [], {}

    def __call__(self, event, group):
        self.asked.append((event.kind, event.config))
        number = self.refuse(event)
        if number:
            raise OSError(number, os.strerror(number))
        path = self.folder / f"event-{len(self.asked)}"
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        self.open[descriptor] = (event, path)
        return descriptor

    def read(self, descriptor, size):
        """Stand in for ``os.read``: the n-th event has counted n."""
        event, _ = self.open[descriptor]
        alive = [one for one in self.open if _is_open(one)]
        running = 5 if len(alive) <= self.counters else 0
        if event.grouped:
            values = range(1, len(alive) + 1)
            return struct.pack(f"={3 + len(alive)}Q", len(alive), 5, running, *values)[:size]
        return struct.pack("=QQQ", 1 + list(self.open).index(descriptor), 5, running)


def _is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Makes a kernel whose descriptors are read by it."""
    made = []

    def make(**arguments):
        made.append(Kernel(tmp_path, **arguments))
        monkeypatch.setattr("edgellm.measure.perf_event.os.read", made[-1].read)
        return made[-1]

    yield make
    monkeypatch.undo()
    for descriptor in filter(_is_open, (one for each in made for one in each.open)):
        os.close(descriptor)


@pytest.fixture
def pi_5(tmp_path):
    """A machine of two Cortex-A76 whose kernel lists the events of its PMU."""
    return cores(tmp_path, "0xd0b", "0xd0b", pmus={"armv8_cortex_a76": (8, "0-1", A76_EVENTS)})


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})


def cores(tmp_path, *parts, pmus=None):
    """A machine of these Arm parts; PMU name to its type, cores and events."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "".join(
            f"processor : {cpu}\nCPU implementer : 0x41\nCPU part : {part}\n\n"
            for cpu, part in enumerate(parts)
        )
    )
    for name, (kind, cpus, events) in (pmus or {}).items():
        folder = tmp_path / "sys/bus/event_source/devices" / name
        (folder / "events").mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "cpus").write_text(f"{cpus}\n")
        for event in events:
            (folder / "events" / event).touch()
    return tmp_path


def names(counters):
    return [info.name for info in counters.infos]


def reasons(missing):
    return {gap.what: gap.why for gap in missing}


def refusing(number):
    return lambda event: number


def test_the_cores_further_events_join_the_group_of_cycles_and_are_read_at_once(kernel, pi_5):
    fake = kernel()
    counters, missing = open_hardware(open_event=fake, root=pi_5)
    assert names(counters) == [
        "cycles",
        "instructions",
        "stalled_cycles",
        "l1d_refills",
        "llc_refills",
        "branch_misses",
        "bus_accesses",
    ]
    assert fake.asked[:3] == [(TYPE_HARDWARE, 0), (TYPE_HARDWARE, 1), (8, 0x24)]
    assert counters.read(0)[2] == CounterSample(3, 5, 5)
    assert missing == ()
    assert "armv8_cortex_a76 stall_backend" in counters.infos[2].source


def test_a_group_that_never_runs_is_shortened_from_the_end(kernel, pi_5):
    counters, missing = open_hardware(open_event=kernel(counters=4), root=pi_5)
    assert names(counters)[-1] == "l1d_refills"
    assert list(reasons(missing)) == ["llc_refills", "branch_misses", "bus_accesses"]
    assert len(set(reasons(missing).values())) == 1
    assert "too few counters" in missing[0].why


def test_an_event_that_does_not_fit_is_left_out(kernel, pi_5):
    fake = kernel(refuse=lambda event: errno.EINVAL if event.config == 0x37 else None)
    counters, missing = open_hardware(open_event=fake, root=pi_5)
    assert "llc_refills" not in names(counters)
    assert "bus_accesses" in names(counters)
    assert "too few counters" in reasons(missing)["llc_refills"]


def test_cycles_that_never_run_are_no_counter(kernel, tmp_path):
    counters, missing = open_hardware(open_event=kernel(counters=0), root=tmp_path)
    assert counters is None
    assert reasons(missing).keys() >= {"cycles", "instructions"}


def test_old_kernels_are_read_one_by_one(kernel, pi_5):
    fake = kernel(refuse=lambda event: errno.EINVAL if event.grouped else None)
    counters, _ = open_hardware(open_event=fake, root=pi_5)
    assert counters.read(0)[1] == CounterSample(2, 5, 5)


def test_without_permission_for_the_kernel_user_mode_is_counted_and_said(kernel, tmp_path):
    fake = kernel(refuse=lambda event: None if event.exclude_kernel else errno.EACCES)
    counters, _ = open_hardware(open_event=fake, root=tmp_path)
    assert [info.exclude_kernel for info in counters.infos] == [True, True]
    assert "user mode only" in counters.infos[0].source


def test_without_a_pmu_one_reason_stands_for_all(kernel, pi_5):
    fake = kernel(refuse=refusing(errno.ENOENT))
    counters, missing = open_hardware(open_event=fake, root=pi_5)
    assert counters is None
    assert list(reasons(missing)) == ["cycles", "instructions"]
    assert len(set(reasons(missing).values())) == 1


def test_cycles_are_kept_where_instructions_are_not_there(kernel, tmp_path):
    fake = kernel(refuse=lambda event: errno.ENOENT if event.config == 1 else None)
    counters, missing = open_hardware(open_event=fake, root=tmp_path)
    assert names(counters) == ["cycles"]
    assert "instructions" in reasons(missing)


def test_an_event_that_the_kernel_did_not_find_is_not_opened_to_count_zero(tmp_path):
    events = [event for event in A76_EVENTS if event != "bus_access"]
    root = cores(tmp_path, "0xd0b", pmus={"armv8_pmuv3": (8, "0", events)})
    wanted = find_wanted(frozenset({0}), root)
    assert "bus_accesses" not in wanted.codes
    assert "does not find this event" in reasons(wanted.missing)["bus_accesses"]


def test_two_clusters_count_by_the_pmu_of_the_cores_in_use(kernel, tmp_path):
    pmus = {
        "armv8_cortex_a55": (9, "0-3", A76_EVENTS),
        "armv8_cortex_a76": (10, "4-5", A76_EVENTS),
    }
    root = cores(tmp_path, *["0xd05"] * 4, *["0xd0b"] * 2, pmus=pmus)
    wanted = find_wanted(frozenset({4, 5}), root)
    assert wanted.pmu.kind == 10
    assert wanted.codes["cycles"].config == 0x11
    assert not wanted.missing
    both = find_wanted(frozenset({0, 1, 4}), root)
    assert both.pmu.kind == 9
    assert both.missing[0].why == (
        "threads on cores 4 are not counted, because they have other counters; "
        "keep to one kind: --cpus 0,1"
    )


def test_a_general_event_of_one_among_several_pmus_names_it(kernel, tmp_path):
    pmus = {"cpu_atom": (10, "1", []), "cpu_core": (4, "0", [])}
    root = cores(tmp_path, pmus=pmus)
    fake = kernel(counters=0)  # as while this thread is on the other kind of core
    counters, missing = open_hardware(open_event=fake, root=root)
    assert fake.asked == [(TYPE_HARDWARE, 10 << 32), (TYPE_HARDWARE, 10 << 32 | 1)]
    assert names(counters) == ["cycles", "instructions"]
    assert "cores 0 are not counted" in missing[0].why


def test_under_emulation_counts_say_so_and_further_events_are_not_made_up(kernel, pi_5):
    (pi_5 / "proc/device-tree").mkdir()
    (pi_5 / "proc/device-tree/model").write_text("linux,dummy-virt\0")
    counters, missing = open_hardware(open_event=kernel(), root=pi_5)
    assert names(counters) == ["cycles", "instructions"]
    assert all(info.emulated for info in counters.infos)
    assert "emulated: cycles of no real core" in counters.infos[0].source
    assert len(missing) == 5


@pytest.mark.perf_event
def test_a_known_loop_counts_what_it_has():
    ran = subprocess.run([sys.executable, COUNT_LOOP], capture_output=True, text=True, check=False)
    if ran.returncode == 3:
        pytest.skip(ran.stdout.strip().replace("\n", "; "))
    assert ran.returncode == 0, ran.stdout + ran.stderr
