import mmap

import pytest

from edgellm.measure import bandwidth
from edgellm.records.samples import Unavailable

MIB = 1 << 20


def machine(tmp_path, free_mib, *caches):
    for i, size in enumerate(caches):
        place = tmp_path / bandwidth.CACHES / f"index{i}"
        place.mkdir(parents=True)
        (place / "size").write_text(f"{size}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {free_mib * 1024} kB\n")
    return tmp_path


@pytest.mark.parametrize(
    ("free_mib", "caches", "mib"),
    [
        (64 << 10, ("48K", "2048K", "105M"), 4 * 105),
        (64 << 10, ("32K", "1024K"), 64),  # four times so small a cache is too little to time
        (64 << 10, ("32K", "what", "7"), 64),
        (64 << 10, (), 64),
        (64 << 10, ("1024M",), 2048),
        (400, ("32K", "32M"), 50),  # an eighth of what is free
    ],
)
def test_the_buffer_is_too_large_for_the_caches_and_small_for_the_memory(
    tmp_path, free_mib, caches, mib
):
    assert bandwidth.buffer_bytes(machine(tmp_path, free_mib, *caches)) == mib * MIB


def test_the_buffer_is_of_whole_pages(tmp_path):
    root = machine(tmp_path, 401, "32M")
    (root / "proc/meminfo").write_text("MemAvailable: 400007 kB\n")

    assert bandwidth.buffer_bytes(root) % mmap.PAGESIZE == 0


def test_too_little_memory_is_said(tmp_path):
    found = bandwidth.buffer_bytes(machine(tmp_path, 100, "32K"))

    assert found == Unavailable(
        "memory bandwidth", "less memory is free than a probe needs; free some"
    )


def test_a_kernel_that_does_not_say_what_is_free_is_probed(tmp_path):
    assert bandwidth.buffer_bytes(tmp_path) == 64 * MIB


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_is_really_read_by_every_thread(monkeypatch, threads):
    monkeypatch.setattr(bandwidth, "PROBE_NS", 0)

    assert bandwidth.read_bytes_per_s(threads, MIB) > 0


def test_the_rate_is_all_parts_over_the_median_pass(monkeypatch):
    monkeypatch.setattr(bandwidth, "PROBE_NS", 0)
    # The end; then, for each pass: is it over, its start, its end.
    clock = iter([0, 0, 0, 1000, 0, 0, 3000, 0, 0, 2000, 0])

    rate = bandwidth.read_bytes_per_s(2, MIB, lambda: next(clock))

    assert rate == pytest.approx(MIB * 1e9 / 2000)
