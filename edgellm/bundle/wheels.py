"""The board's packages as wheels: which ones, and where to have them from.

``wheels.lock`` names every wheel that a board may need with its SHA-256. What was fetched once is
kept, so that a second bundle needs no network.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgellm.errors import EdgellmError, UsageError
from edgellm.export.named import cache_folder
from edgellm.records.folder import file_sha256
from edgellm.records.manifest import WHEELS_FOLDER
from edgellm.records.progress import Progress, silent
from edgellm.records.target import Target
from edgellm.records.wheels import Wheel, parse, version
from edgellm.runner.runtime import installed_bytes

LOCK = Path(__file__).with_name("wheels.lock")
# Where a target does not say: what Debian 12 and 13 have, and Raspberry Pi OS with them.
PYTHONS = ("3.11", "3.13")
TIMEOUT_S = 900.0  # 30 MB over a slow line

# Downloads one wheel with a SHA-256 into a folder.
Download = Callable[[Wheel, str, Path], None]


def locked() -> Mapping[str, str]:
    """Return the SHA-256 of each wheel by its file name."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {name: sha256 for sha256, name in pairs}


def choose(target: Target) -> tuple[Wheel, ...]:
    """Return the wheels for a target: each package for each of its Pythons.

    Raises:
        UsageError: None is built for it; the message says what is.
    """
    everything = [parse(f"{WHEELS_FOLDER}/{name}") for name in locked()]
    known = [wheel for wheel in everything if wheel.arch == target.arch]
    pythons = target.software.python or PYTHONS
    glibc = target.software.glibc
    old = [w for w in known if glibc and version(w.glibc) > version(glibc)]
    if old:
        worst = max(old, key=lambda wheel: version(wheel.glibc))
        raise UsageError(
            f"{target.name} has glibc {glibc}, and {worst.name} {worst.version} needs "
            f"{worst.glibc}: a newer system is needed there"
        )
    chosen = [wheel for wheel in known if any(wheel.takes(python) for python in pythons)]
    names = {wheel.name for wheel in known}
    if {wheel.name for wheel in chosen} != names:
        there = sorted({w.python for w in known if w.abi != "abi3"}, key=version)
        raise UsageError(
            f"{target.name} has Python {', '.join(pythons)}, wheels are there for "
            f"{', '.join(there)}: a newer system is needed there"
        )
    return tuple(sorted(chosen, key=lambda wheel: wheel.path))


def cache() -> Path:
    """Return the folder where fetched wheels are kept."""
    return cache_folder() / WHEELS_FOLDER


def fetch(
    wheels: Sequence[Wheel],
    *,
    progress: Progress = silent,
    download: Download | None = None,
) -> Mapping[Wheel, Path]:
    """Bring wheels into the cache, as far as they are not there, and look inside.

    Each is kept as soon as it is whole, so what was cut off goes on from the next one.

    Args:
        wheels: Of :func:`choose`.
        progress: Told about each.
        download: Fetches one; for tests.

    Returns:
        Where each wheel lies, with its ``installed_bytes`` filled in.

    Raises:
        EdgellmError: One cannot be fetched, or is another than the lock says.
    """
    digests, place = locked(), cache()
    found = {}
    for done, wheel in enumerate(wheels):
        progress("fetching wheels", done, len(wheels))
        name = wheel.path.rpartition("/")[2]
        path = place / name
        if not path.is_file() or file_sha256(path) != digests[name]:
            _fetch(wheel, digests[name], path, download or _pip)
        found[replace(wheel, installed_bytes=installed_bytes(path))] = path
    return found


def _fetch(wheel: Wheel, sha256: str, path: Path, download: Download) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=path.parent) as scratch:
        download(wheel, sha256, Path(scratch))
        fetched = Path(scratch) / path.name
        if not fetched.is_file() or file_sha256(fetched) != sha256:
            raise EdgellmError(
                f"what came for {path.name} is not what wheels.lock says: "
                f"put the right file into {path.parent} by hand, or report it"
            )
        fetched.replace(path)


def _pip(wheel: Wheel, sha256: str, folder: Path) -> None:
    """Let pip fetch a wheel that it would not choose for this machine."""
    name = wheel.path.rpartition("/")[2]
    by_hand = f"or put {name} into {cache()} by hand, or bundle with --no-wheels"
    if importlib.util.find_spec("pip") is None:
        raise UsageError(f"wheels are fetched by pip, which is not here: install pip, {by_hand}")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{sha256}\n", encoding="utf-8")
    *_, python, abi, platforms = name.removesuffix(".whl").split("-")
    fetching = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=2", "--timeout=20"),
        *(f"--platform={platform}" for platform in platforms.split(".")),
        *(f"--python-version={python.removeprefix('cp')}", "--implementation=cp", f"--abi={abi}"),
        *("--dest", str(folder), "--requirement", str(wanted)),
    ]
    try:
        done = subprocess.run(
            fetching, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        lines = done.stderr.strip().splitlines() if done.returncode else []
    except subprocess.TimeoutExpired:
        lines = [f"it took more than {TIMEOUT_S:.0f} s"]
    if lines:
        raise EdgellmError(
            f"{name} could not be fetched ({lines[-1]}): connect to the network once, {by_hand}"
        )
