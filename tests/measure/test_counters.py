import errno
import os
import platform
import struct

import pytest

from edgellm.measure.counters import open_counters
from edgellm.measure.emulation import MAGIC


def refuse(event, group):
    raise FileNotFoundError(errno.ENOENT, "no")


@pytest.fixture
def bare(tmp_path):
    """A machine whose kernel says nothing."""
    return tmp_path


def test_hardware_cycles_come_first(tmp_path):
    reading = tmp_path / "reading"
    reading.write_bytes(struct.pack("=QQQ", 1, 1, 1) * 9)

    def open_event(event, group):
        if event.grouped:
            raise OSError(errno.EINVAL, "no")
        return os.open(reading, os.O_RDONLY)

    with open_counters(open_event=open_event, root=tmp_path) as opened:
        assert [info.name for info in opened.counters.infos] == ["cycles", "instructions"]


def test_an_emulators_own_count_is_taken_where_it_is_named(tmp_path, monkeypatch):
    counts = tmp_path / "counts"
    counts.write_bytes(struct.pack("=3Q", MAGIC, 1, 12))
    monkeypatch.setenv("EDGELLM_INSTRUCTIONS", str(counts))
    with open_counters(open_event=refuse, root=tmp_path) as opened:
        assert [info.name for info in opened.counters.infos] == ["instructions"]
        assert [gap.what for gap in opened.missing] == ["cycles"]


def test_pain_26_without_hardware_reference_cycles_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("BogoMIPS\t: 108.00\n")
    with open_counters(open_event=refuse, root=tmp_path) as opened:
        assert [info.name for info in opened.counters.infos] == ["reference_cycles"]
        assert [gap.what for gap in opened.missing] == ["cycles", "instructions"]


def test_reference_cycles_of_an_emulated_machine_say_so(put, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    board = {"proc/cpuinfo": "BogoMIPS: 125.00\n", "proc/device-tree/model": "linux,dummy-virt\0"}
    with open_counters(open_event=refuse, root=put(board)) as opened:
        (info,) = opened.counters.infos
    assert info.emulated
    assert "emulated: no real time" in info.source


def test_pain_26_without_a_known_rate_time_alone_is_left_and_all_three_reasons(bare):
    with open_counters(open_event=refuse, root=bare) as opened:
        assert opened.counters.read(5) == ()
        assert [gap.what for gap in opened.missing] == [
            "cycles",
            "instructions",
            "reference_cycles",
        ]
