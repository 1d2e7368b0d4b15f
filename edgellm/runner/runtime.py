"""The packages that a bundle brings: unpacked once, and found before those of the system.

They lie in ``EDGELLM_HOME/runtime/DIGEST``, which is whole or absent; ``DIGEST`` says which wheels
they came from, so bundles that bring the same share one copy, and another version never mixes in.
Nothing here may import a package that is not Python's own.
"""

import fnmatch
import hashlib
import importlib
import importlib.util
import io
import os
import platform
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgellm.errors import BundleInvalid, EdgellmError
from edgellm.records import codec, folder
from edgellm.records.manifest import MANIFEST_FILE, BundleManifest
from edgellm.records.progress import Progress, silent
from edgellm.records.wheels import Wheel
from edgellm.runner.members import Member, members

HOME = "EDGELLM_HOME"
PACKAGES = ("numpy", "onnxruntime", "tokenizers")

# What the runner never imports: nothing below it runs without a test in an environment that has
# exactly what is left, see tests/board. Licences stay.
LEFT_OUT = (
    "*/tests/*",
    "*.pyi",
    "*.pxd",
    "*.h",
    "*.a",
    "*/sboms/*",
    # numpy: compilers, and what is there for its own tests. Not ma, fft and the like, which some
    # functions load when they are called (median, for one).
    *(f"numpy/{name}/*" for name in ("_pyinstaller", "distutils", "f2py", "testing")),
    *("numpy/_core/_simd.*", "numpy/_core/*_tests.*"),
    # onnxruntime: the library for C programs, which Python's module holds a second time, and tools
    "onnxruntime/capi/libonnxruntime.so*",
    *(f"onnxruntime/{name}/*" for name in ("backend", "datasets", "quantization", "tools")),
    "onnxruntime/transformers/*",
    "tokenizers/tools/*",
)


def home() -> Path:
    """Return the folder of edgellm's own data on this machine."""
    given = os.environ.get(HOME)
    if given:
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local/share") / "edgellm"


def suiting(
    wheels: Iterable[Wheel], python: str | None = None, arch: str | None = None
) -> tuple[Wheel, ...]:
    """Return the wheels that a Python on a machine loads; this one where they are None."""
    python, arch = python or platform.python_version(), arch or platform.machine()
    return tuple(wheel for wheel in wheels if wheel.suits(python, arch, None))


def place(manifest: BundleManifest) -> Path | None:
    """Return where this machine's packages of a bundle lie or would lie; None if it has none."""
    name = place_name(manifest)
    return home() / "runtime" / name if name else None


def place_name(
    manifest: BundleManifest, python: str | None = None, arch: str | None = None
) -> str | None:
    """Return the name of the folder of a machine's packages; of this machine where None."""
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    wheels = sorted(digests[wheel.path] for wheel in suiting(manifest.wheels, python, arch))
    if not wheels:
        return None
    # What is left out is part of what a folder is: with another table it is another folder.
    content = "\n".join([*wheels, *LEFT_OUT])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def kept(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a wheel that the runner needs."""
    return [
        info
        for info in archive.infolist()
        if not info.is_dir()
        and not any(fnmatch.fnmatchcase(info.filename, pattern) for pattern in LEFT_OUT)
    ]


def installed_bytes(wheel: Path | io.BytesIO) -> int:
    """Return the size of what is unpacked of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return sum(info.file_size for info in kept(archive))


def install(
    manifest: BundleManifest, files: Mapping[str, Member], progress: Progress = silent
) -> Path:
    """Unpack this machine's packages of a bundle, unless they are there and whole.

    Args:
        manifest: Of the bundle; it has wheels that suit this machine.
        files: The bundle's files by name.
        progress: Told about each wheel.

    Returns:
        The folder.

    Raises:
        BundleInvalid: A wheel is missing or damaged.
        UsageError: The folder cannot be written.
        EdgellmError: The disk is full.
    """
    target = place(manifest)
    assert target is not None, "no wheel suits this machine"
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    packed = [Packed(files.get(w.path), w.path, digests[w.path]) for w in suiting(manifest.wheels)]
    if target.exists():
        if all(_is_unpacked(packed_wheel, target) for packed_wheel in packed):
            return target
        shutil.rmtree(target)  # a file was lost, so what is left is of no use
    with folder.whole(target) as scratch:
        for done, wheel in enumerate(packed):
            progress("unpacking packages", done, len(packed))
            with wheel.open() as archive:
                archive.extractall(scratch, kept(archive))
        os.sync()  # a name must not outlive its content when the power goes
    return target


@dataclass(frozen=True, slots=True)
class Packed:
    """A wheel in its bundle: where it lies, its name there, and the SHA-256 it must have."""

    member: Member | None
    name: str
    sha256: str

    def open(self) -> zipfile.ZipFile:
        """Open it, checked.

        Raises:
            BundleInvalid: It is missing or damaged.
        """
        content = self.member.read() if self.member else b""
        if hashlib.sha256(content).hexdigest() != self.sha256:
            what = "does not match its recorded SHA-256" if self.member else "is not there"
            raise BundleInvalid(f"{self.name} {what}: copy the bundle again")
        return zipfile.ZipFile(io.BytesIO(content))


def _is_unpacked(wheel: Packed, target: Path) -> bool:
    with wheel.open() as archive:
        wanted = {target / info.filename: info.file_size for info in kept(archive)}
    return all(path.is_file() and path.stat().st_size == size for path, size in wanted.items())


def activate(bundle: Path) -> Path | None:
    """Let this process and its children find a bundle's packages before the system's.

    Returns:
        The folder; None where the bundle has none for this machine, or they are not installed.
    """
    try:
        manifest = read_manifest(bundle)
    except EdgellmError:
        return None  # whoever opens the bundle says what is wrong with it
    packages = place(manifest)
    if packages is None or not packages.is_dir():
        return None
    sys.path.insert(0, str(packages))
    importlib.invalidate_caches()
    kept_path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(packages), kept_path]))
    return packages


def read_manifest(bundle: Path) -> BundleManifest:
    """Read what a bundle says of itself, and no more of it.

    Raises:
        UsageError: ``bundle`` does not exist or is not a bundle.
        BundleInvalid: It is damaged or too new.
    """
    text = members(bundle)[MANIFEST_FILE].read()
    return codec.loads(BundleManifest, text, f"{bundle}: {MANIFEST_FILE}")


def missing() -> tuple[str, ...]:
    """Return which of the packages that the runner needs cannot be found, without importing any."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)
