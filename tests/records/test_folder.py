"""Folders that are whole or absent."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgellm.errors import BundleInvalid, EdgellmError, UsageError
from edgellm.records import folder


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with folder.whole(tmp_path / "deep" / "out") as scratch:
        (scratch / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()

    assert (tmp_path / "deep" / "out" / "a").read_text() == "a"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_existing_output_is_refused_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stage.json").write_text("old")

    with (
        pytest.raises(UsageError, match="out exists already; choose another output or add --force"),
        folder.whole(tmp_path / "out"),
    ):
        pytest.fail("the block must not run")
    with folder.whole(tmp_path / "out", force=True) as scratch:
        (scratch / "new").write_text("new")

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_an_early_end_leaves_what_was_there(failure: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stage.json").write_text("old")

    with pytest.raises(failure), folder.whole(tmp_path / "out", force=True) as scratch:
        (scratch / "half").write_text("half")
        raise failure

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["stage.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_being_terminated_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder.whole(tmp_path / "out"):
        os.kill(os.getpid(), signal.SIGTERM)

    assert list(tmp_path.iterdir()) == []


def _python_fails() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _numpy_fails() -> None:
    np.zeros(1 << 16).tofile("/dev/full")


def _onnx_ir_fails() -> None:
    raise OSError("Not enough free space to write 113246208 bytes after offset 2097152")


@pytest.mark.parametrize("fail", [_python_fails, _numpy_fails, _onnx_ir_fails])
def test_a_full_disk_is_said_and_leaves_nothing(fail: Callable[[], None], tmp_path: Path) -> None:
    with (
        pytest.raises(EdgellmError, match=r"the disk of .*out is full \(\d+ MiB free\)"),
        folder.whole(tmp_path / "out") as scratch,
    ):
        (scratch / "half").write_text("half")
        fail()

    assert list(tmp_path.iterdir()) == []


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="file is not a folder"):
        folder.claim_output(tmp_path / "file" / "out", force=False)


def test_force_does_not_replace_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("")

    with pytest.raises(UsageError, match="photos holds what edgellm did not write"):
        folder.claim_output(tmp_path / "photos", force=True)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_an_output_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be an output; give it a name"):
        folder.claim_output(Path(name), force=True)


def test_an_output_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="weights is not writable; choose another output"),
        folder.whole(tmp_path / "out"),
    ):
        raise OSError(errno.EROFS, "Read-only file system", "weights")


def test_an_output_in_a_read_only_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere

    with pytest.raises(UsageError, match=r"is not writable, so .* cannot be written there"):
        folder.claim_output(tmp_path / "out", force=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "lacks weights: it is incomplete"),
        (lambda path: path.write_bytes(b"12"), "has 2 bytes, its record says 3"),
        (lambda path: path.write_bytes(b"124"), "does not match its recorded SHA-256"),
    ],
)
def test_damage_names_the_file(change: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"123")
    files = folder.entries(tmp_path, ["weights"])
    folder.verify(tmp_path, files)

    change(tmp_path / "weights")  # type: ignore[operator]

    with pytest.raises(BundleInvalid, match=said):
        folder.verify(tmp_path, files)
