"""Pages of a mapped file are given back, but never what was written to them."""

import mmap
from pathlib import Path

import pytest

from edgellm.runner.pages import give_back

SIZE = 1 << 20


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[Path, mmap.mmap]:
    path = tmp_path / "model weights.data"
    path.write_bytes(b"\x07" * SIZE)
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_COPY)
    assert sum(memory[::4096]) == 7 * SIZE // 4096  # every page is resident now
    return path, memory


def resident_bytes(path: Path) -> int:
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("Rss:"))
    raise LookupError(path)


def test_clean_pages_go_and_come_back_with_their_content(
    mapped: tuple[Path, mmap.mmap],
) -> None:
    path, memory = mapped
    assert resident_bytes(path) == SIZE

    assert give_back(path) == SIZE

    assert resident_bytes(path) == 0
    assert memory[:] == b"\x07" * SIZE


def test_what_was_written_stays(mapped: tuple[Path, mmap.mmap]) -> None:
    path, memory = mapped
    memory[5] = 1

    assert give_back(path) == 0

    assert memory[5] == 1


def test_other_files_and_other_kernels_are_left_alone(
    mapped: tuple[Path, mmap.mmap], tmp_path: Path
) -> None:
    path, _ = mapped

    assert give_back(tmp_path / "other") == 0
    assert give_back(path, smaps=tmp_path / "no such list") == 0
    assert resident_bytes(path) == SIZE
