"""A bundle's files, whether it is a folder or one file.

The one-file form is a zip whose members are stored, not compressed, and whose large members
start at a multiple of 4096 bytes. A zip has its table of contents at the end, so that opening it
reads two small pieces however large it is, its padding has a place in the format (the extra field
that Android's zipalign uses), Python starts a program from it, and every system opens it. A tar
would have to be walked and padded with files that nobody asked for.
"""

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgellm.errors import BundleInvalid, UsageError
from edgellm.records.manifest import MANIFEST_FILE, STAGE_FILE, WHEELS_FOLDER

PAGE_BYTES = 4096  # what mmap can start at, on every board with 4 KiB pages
READ_BYTES = 1 << 20
# Local file header: fixed part, then a name and an extra field whose lengths stand at its end.
LOCAL_HEADER = struct.Struct("<4s22xHH")
LOCAL_SIGNATURE = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a bundle: ``size`` bytes from ``offset`` of the file ``path``."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the whole content."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hex, read in pieces."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (piece := file.read(min(READ_BYTES, left))):
                digest.update(piece)
                left -= len(piece)
        return digest.hexdigest()


def members(bundle: Path) -> Mapping[str, Member]:
    """Find the files of a bundle.

    Raises:
        UsageError: ``bundle`` does not exist, or is something else.
        BundleInvalid: It is unfinished or damaged.
    """
    if not bundle.exists():
        raise UsageError(f"{bundle} does not exist; make it with: edgellm bundle DIR -o {bundle}")
    found = _in_folder(bundle) if bundle.is_dir() else _in_archive(bundle)
    if MANIFEST_FILE in found:
        return found
    if STAGE_FILE in found:
        raise UsageError(
            f"{bundle} is a stage folder, not a bundle: "
            f"make one with: edgellm bundle {bundle} -o BUNDLE"
        )
    raise BundleInvalid(f"{bundle} has no {MANIFEST_FILE}: it is no bundle, or is cut off")


def _in_folder(folder: Path) -> dict[str, Member]:
    paths = (*folder.glob("*"), *folder.glob(f"{WHEELS_FOLDER}/*"))
    return {
        path.relative_to(folder).as_posix(): Member(path, 0, path.stat().st_size)
        for path in paths
        if path.is_file()
    }


def _in_archive(path: Path) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return {i.filename: _located(path, i, file) for i in archive.infolist()}
    except (zipfile.BadZipFile, struct.error, OSError) as error:
        raise BundleInvalid(f"{path} is no bundle, or is cut off or damaged ({error})") from None


def _located(path: Path, info: zipfile.ZipInfo, file: BinaryIO) -> Member:
    file.seek(info.header_offset)
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != LOCAL_SIGNATURE:
        raise zipfile.BadZipFile(f"no header of {info.filename} at byte {info.header_offset}")
    if info.compress_type != zipfile.ZIP_STORED:
        raise BundleInvalid(
            f"{path} holds {info.filename} compressed, so it cannot be mapped: "
            "unpack it and use the folder, or make it with edgellm bundle"
        )
    offset = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
    return Member(path, offset, info.file_size)
