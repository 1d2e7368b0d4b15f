"""Folders that are whole or absent, and the digests that prove it."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edgellm.errors import BundleInvalid, EdgellmError, UsageError
from edgellm.records.progress import Progress, silent

CHUNK_BYTES = 1 << 20
STAGE_FILE = "stage.json"
MANIFEST_FILE = "manifest.json"
RECORDING_FILE = "machine.txt"
RECORDS = (STAGE_FILE, MANIFEST_FILE, RECORDING_FILE)  # what tells a folder of ours
# How numpy and onnx_ir say that a disk is full: as an OSError without its number.
FULL_DISK = re.compile(r"\d+ requested and \d+ written|Not enough free space to write")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a folder: its relative path, size and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entries(folder: Path, names: Iterable[str]) -> tuple[FileEntry, ...]:
    """Describe the named files of ``folder``, in sorted order."""
    found = []
    for name in sorted(names):
        path = folder / name
        found.append(FileEntry(name, path.stat().st_size, file_sha256(path)))
    return tuple(found)


def verify(folder: Path, files: Iterable[FileEntry], progress: Progress = silent) -> None:
    """Check sizes and digests of a folder's files.

    Raises:
        BundleInvalid: A file is missing or differs; the message names it.
    """
    files = tuple(files)
    for done, entry in enumerate(files):
        progress("checking files", done, len(files))
        path = folder / entry.path
        if not path.is_file():
            raise BundleInvalid(f"{folder} lacks {entry.path}: it is incomplete, make it again")
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleInvalid(
                f"{path} has {size} bytes, its record says {entry.bytes}: it is damaged"
            )
        if file_sha256(path) != entry.sha256:
            raise BundleInvalid(f"{path} does not match its recorded SHA-256: it is damaged")


def claim_output(path: Path, *, force: bool) -> None:
    """Refuse an output path that exists or cannot be written, before any work is done.

    Raises:
        UsageError: ``path`` has no name, exists and ``force`` is not set, is a folder of something
            else, or its parent is not writable.
    """
    if not path.name:
        raise UsageError(f"{path} cannot be an output; give it a name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another output or add --force")
    if path.is_dir() and any(path.iterdir()) and not any((path / own).exists() for own in RECORDS):
        raise UsageError(f"{path} holds what edgellm did not write, so --force does not replace it")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise UsageError(f"{parent} is not a folder, so {path} cannot be written")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{parent} is not writable, so {path} cannot be written there")


@contextlib.contextmanager
def whole(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a scratch path beside ``path`` that becomes ``path`` when the block ends well.

    The scratch is an empty folder; a block that makes a file removes the folder first. Whatever
    ends the block early - an error, Ctrl-C, SIGTERM - removes the scratch and leaves ``path`` as
    it was.

    Args:
        path: The output.
        force: Replace what exists at ``path``.

    Yields:
        The scratch folder.

    Raises:
        UsageError: See :func:`claim_output`.
        EdgellmError: The disk is full.
    """
    claim_output(path, force=force)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    scratch.chmod(0o755)
    try:
        with terminate_as_interrupt():
            yield scratch
        _replace(scratch, path)
    except OSError as error:
        raise readable(error, path) from error
    finally:
        _remove(scratch)


def readable(error: OSError, path: Path) -> Exception:
    """Return ``error``, met while ``path`` was written, as a sentence where there is one."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or FULL_DISK.search(str(error)):
        free = shutil.disk_usage(path.absolute().parent).free
        return EdgellmError(
            f"the disk of {path} is full ({free >> 20} MiB free): "
            "free some space or choose another output; nothing was left there"
        )
    if error.errno in (errno.EROFS, errno.EACCES):
        return UsageError(f"{error.filename or path} is not writable; choose another output")
    if error.errno == errno.EISDIR:
        return UsageError(f"{path} is a folder; choose another output")
    return error


def _replace(scratch: Path, path: Path) -> None:
    if path.exists():
        old = scratch.with_name(scratch.name + ".old")
        path.rename(old)
        scratch.rename(path)
        _remove(old)
    else:
        scratch.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that scratch folders go."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: signals belong to whoever runs it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
