"""Writes a bundle's files as a folder or as one file; see :mod:`edgellm.runner.members`."""

import shutil
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgellm.bundle.runner_archive import EPOCH, SHEBANG, ring_sources
from edgellm.records.manifest import MANIFEST_FILE
from edgellm.records.progress import Progress, silent
from edgellm.runner.members import LOCAL_HEADER, PAGE_BYTES

SUFFIX = ".edgellm"
ALIGNMENT_FIELD = 0xD935  # the extra field of Android's zipalign
EXTRA_HEADER = struct.Struct("<HH")
COPY_BYTES = 1 << 20
# The zip format's own limit for sizes and offsets, beyond which an entry needs the zip64 field.
ZIP64_BYTES = 1 << 31
ZIP64_FIELD_BYTES = 20


def write(
    files: Mapping[str, Path], target: Path, *, one_file: bool, progress: Progress = silent
) -> None:
    """Write a bundle, its manifest last.

    Args:
        files: What goes in: name to where it lies.
        target: An empty folder; it becomes the bundle, or is replaced by it.
        one_file: Write one file.
        progress: Told about each file.
    """
    if one_file:
        target.rmdir()
        _write_file(files, target, progress)
        return
    for done, name in enumerate(_manifest_last(files)):
        progress("copying files", done, len(files))
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(files[name], target / name)


def _write_file(files: Mapping[str, Path], target: Path, progress: Progress) -> None:
    """Write a zip that Python can start, for it holds the runner's sources beside ``files``.

    Data of a page or more starts at a multiple of :data:`PAGE_BYTES`.
    """
    with target.open("wb") as raw:
        raw.write(SHEBANG)
        with zipfile.ZipFile(raw, "w") as archive:
            for name, content in ring_sources().items():
                archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
            for done, name in enumerate(_manifest_last(files)):
                progress("writing the bundle", done, len(files))
                _add(archive, name, files[name], raw.tell())
    target.chmod(0o755)


def _manifest_last(files: Mapping[str, Path]) -> list[str]:
    return sorted(files, key=lambda name: (name == MANIFEST_FILE, name))


def _add(archive: zipfile.ZipFile, name: str, source: Path, header_offset: int) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.file_size = source.stat().st_size
    large = info.file_size >= ZIP64_BYTES
    if info.file_size >= PAGE_BYTES:
        header = LOCAL_HEADER.size + len(name.encode()) + EXTRA_HEADER.size
        padding = -(header_offset + header + (ZIP64_FIELD_BYTES if large else 0)) % PAGE_BYTES
        info.extra = EXTRA_HEADER.pack(ALIGNMENT_FIELD, padding) + bytes(padding)
    with source.open("rb") as data, archive.open(info, "w", force_zip64=large) as member:
        shutil.copyfileobj(data, member, COPY_BYTES)
