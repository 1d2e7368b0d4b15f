"""The part that runs on a board before anything of ours is there; it is sent as source.

One file, the standard library alone, and what Python 3.6 understands, so that an old board is
described and not met by a SyntaxError. ``probe`` says what the board is and holds, ``receive``
takes files into its store, ``assemble`` makes a bundle of them, ``discard`` removes a damaged one.

The store, below EDGELLM_HOME (``~/.local/share/edgellm`` where that is not set)::

    blobs/SHA256         a file, whole: it was checked as it came
    blobs/SHA256.part    the beginning of one, to be continued
    bundles/DIGEST/      a bundle: hard links to blobs; it is there whole or not at all
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import struct
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

CHUNK_BYTES = 1 << 16
SYNC_BYTES = 1 << 23  # a part loses no more than that when the power goes
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
BOARD_NAMES = ("/proc/device-tree/model", "/sys/class/dmi/id/product_name")


def home() -> Path:
    """Return the folder of all that edgellm keeps here."""
    given = os.environ.get("EDGELLM_HOME")
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    path = Path(given) if given else Path(data) / "edgellm"
    return path.expanduser().absolute()


def probe() -> Dict[str, Any]:
    """Describe this machine and what the store holds."""
    store = home()
    memory = _memory()
    return {
        "python": list(sys.version_info[:3]),
        "bits": struct.calcsize("P") * 8,
        "machine": platform.machine(),
        "glibc": _glibc(),
        "features": _features(),
        "board": _board(),
        "memory_bytes": memory.get("MemTotal"),
        "available_bytes": memory.get("MemAvailable"),
        "home": str(store),
        "free_bytes": _free_bytes(store),
        "blobs": {path.name: path.stat().st_size for path in _inside(store / "blobs")},
        "bundles": [path.name for path in _inside(store / "bundles")],
        "runtimes": [path.name for path in _inside(store / "runtime")],
    }


def _inside(folder: Path) -> List[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _glibc() -> Optional[str]:
    """Return the version of glibc; None where the C library is another, such as musl."""
    try:
        version = ctypes.CDLL(None).gnu_get_libc_version
    except (AttributeError, OSError):
        return None
    version.restype = ctypes.c_char_p
    return str(version().decode())


def _features() -> List[str]:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("Features", "flags"):
            return sorted(words.split())
    return []


def _board() -> Optional[str]:
    names = (_read(path).strip("\0\n ") for path in BOARD_NAMES)
    return next((name for name in names if name), None)


def _memory() -> Dict[str, int]:
    lines = (line.split() for line in _read("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _free_bytes(path: Path) -> int:
    while not path.is_dir():
        path = path.parent
    found = os.statvfs(str(path))
    return found.f_bavail * found.f_frsize


def receive(stream: io.BufferedReader) -> None:
    """Take files from ``stream``: a line ``SHA256 OFFSET BYTES``, then what is beyond OFFSET.

    The digest of each is checked before it counts. Where the stream ends early, what came stays as
    a part. A part that is not as long as its sender believes, and a digest that differs, end this
    with the status :data:`TRY_AGAIN`.
    """
    blobs = home() / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for line in iter(stream.readline, b""):
        sha256, offset, size = line.decode().split()
        _receive_one(stream, blobs / sha256, int(offset), int(size))


def _receive_one(stream: io.BufferedReader, path: Path, offset: int, size: int) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            with contextlib.suppress(FileNotFoundError):  # others may wait here, too
                part.unlink()
            _end("somebody else sent the same file meanwhile", TRY_AGAIN)
        if os.fstat(file.fileno()).st_size != offset:
            _end("somebody else sent a part of the same file meanwhile", TRY_AGAIN)
        digest = _sha256(part)
        left, unsynced = size - offset, 0
        while left:
            piece = stream.read1(min(left, CHUNK_BYTES))
            if not piece:
                _end("the connection ended in the middle of a file", TRY_AGAIN)
            digest.update(piece)
            _write(file, part, piece)
            left -= len(piece)
            unsynced += len(piece)
            if unsynced >= SYNC_BYTES:
                os.fsync(file.fileno())
                unsynced = 0
        if digest.hexdigest() != path.name:
            part.unlink()
            _end("a file arrived damaged", TRY_AGAIN)
        os.fsync(file.fileno())  # a name must not outlive its content when the power goes
        part.rename(path)


def _write(file: io.FileIO, part: Path, piece: bytes) -> None:
    try:
        while piece:
            piece = piece[file.write(piece) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        part.unlink()  # a full disk makes a board ill
        _end("the disk of %s became full; the part that had come is removed" % part.parent, 1)


def assemble(request: Dict[str, Any]) -> None:
    """Make the bundle ``digest`` of blobs: ``files`` is name to SHA-256."""
    store = home()
    target = store / "bundles" / request["digest"]
    aside = target.with_name("." + target.name)
    if target.is_dir():
        return
    shutil.rmtree(str(aside), ignore_errors=True)  # of somebody whose connection ended here
    for name, sha256 in request["files"].items():
        path = aside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(str(store / "blobs" / sha256), str(path))
    aside.rename(target)


def discard(request: Dict[str, Any]) -> None:
    """Remove the bundle ``digest``, and those of the blobs ``sha256`` that are damaged."""
    shutil.rmtree(str(home() / "bundles" / request["digest"]), ignore_errors=True)
    for sha256 in request["sha256"]:
        path = home() / "blobs" / sha256
        if path.exists() and _sha256(path).hexdigest() != sha256:
            path.unlink()


def _sha256(path: Path) -> Any:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(piece)
    return digest


def _end(sentence: str, status: int) -> None:
    sys.stderr.write(sentence + "\n")
    sys.exit(status)


def main(operation: str, stream: io.BufferedReader) -> None:
    """Do one of the operations."""
    try:
        if operation == "probe":
            sys.stdout.write(json.dumps(probe()))
        elif operation == "receive":
            receive(stream)
        else:
            {"assemble": assemble, "discard": discard}[operation](json.load(stream))
    except OSError as error:
        _end(str(error), 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer)  # type: ignore[arg-type]  # it is, as Python opens it
