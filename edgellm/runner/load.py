"""Opens a bundle: everything it says is checked before anything of it runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from edgellm.errors import BundleInvalid
from edgellm.records import codec
from edgellm.records.golden import GoldenSet
from edgellm.records.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    BundleManifest,
)
from edgellm.records.progress import Progress, silent
from edgellm.runner import kernels, requirements
from edgellm.runner.members import Member, members
from edgellm.runner.session import Engine, Session
from edgellm.runner.weights import WeightsFile

NEEDED = (MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle, a folder or one file.

    Attributes:
        path: Where it lies.
        manifest: What it says of itself.
        files: Its files by name.
        tokenizer: Text to token ids and back.
    """

    path: Path
    manifest: BundleManifest
    files: Mapping[str, Member]
    tokenizer: Tokenizer

    @property
    def weights(self) -> WeightsFile | None:
        """Where the weights lie; None where the graph holds them itself."""
        data = self.files.get(WEIGHTS_FILE)
        return WeightsFile(data.path, data.offset) if data else None

    @property
    def kernels(self) -> str | None:
        """Path of the library of operators for this processor; None where there is none."""
        return kernels.library(self.files)

    def session(
        self,
        *,
        threads: int = 0,
        context: int | None = None,
        shared: bool = False,
        profile: Path | None = None,
    ) -> Session:
        """Open the model; its weights are mapped from where they lie, never copied whole.

        Args:
            threads: Threads of onnxruntime; 0 for one per core.
            context: Capacity of the key-value cache in tokens; the model's maximum where None.
            shared: Share threads and memory with other such sessions.
            profile: Beginning of the name of onnxruntime's profile; None for none.

        Raises:
            UsageError: ``context`` is more than the model can do.
            BundleInvalid: onnxruntime cannot open the model.
        """
        return Session(
            self.files[MODEL_FILE].read(),
            self.manifest.model,
            weights=self.weights,
            engine=Engine(threads, shared, profile, self.kernels),
            context=context,
        )

    def golden(self) -> GoldenSet:
        """Read the golden tokens: what the bundle answered where it was made."""
        name = f"{self.path}: {GOLDEN_FILE}"
        return codec.loads(GoldenSet, self.files[GOLDEN_FILE].read(), name)


def open_bundle(path: Path, *, check: bool = True, progress: Progress = silent) -> Bundle:
    """Open a bundle and check it.

    Args:
        path: A folder or an ``.edgellm`` file.
        check: Compare the weights with their SHA-256; every other file always is, and the sizes.
            Wheels are compared by who unpacks them.
        progress: Told about the check.

    Raises:
        UsageError: ``path`` does not exist or is not a bundle.
        BundleInvalid: It is unfinished, damaged, too new, or needs other versions than are here;
            the message names the file.
        UnsupportedModel: It uses operators that the runner does not have.
    """
    found = members(path)
    manifest = codec.loads(BundleManifest, found[MANIFEST_FILE].read(), f"{path}: {MANIFEST_FILE}")
    requirements.check(manifest.requires, str(path))
    listed = dict(_listed(path, manifest, found))
    packed = {wheel.path for wheel in manifest.wheels}
    for done, entry in enumerate(manifest.files):
        progress("checking files", done, len(manifest.files))
        unread = entry.path in packed or (entry.path == WEIGHTS_FILE and not check)
        if not unread and listed[entry.path].sha256() != entry.sha256:
            raise BundleInvalid(
                f"{path}: {entry.path} does not match its recorded SHA-256: it is damaged"
            )
    return Bundle(path, manifest, listed, _tokenizer(path, listed[TOKENIZER_FILE]))


def _listed(
    path: Path, manifest: BundleManifest, found: Mapping[str, Member]
) -> Iterator[tuple[str, Member]]:
    """Yield the files that the manifest lists; what else lies there is not used."""
    names = {entry.path for entry in manifest.files}
    for name in NEEDED:
        if name not in names:
            raise BundleInvalid(f"{path}: {MANIFEST_FILE} does not list {name}: make it again")
    for entry in manifest.files:
        member = found.get(entry.path)
        if member is None:
            raise BundleInvalid(f"{path} lacks {entry.path}: it is incomplete, make it again")
        if member.size != entry.bytes:
            raise BundleInvalid(
                f"{path}: {entry.path} has {member.size} bytes, "
                f"its record says {entry.bytes}: it is damaged"
            )
        yield entry.path, member


def _tokenizer(path: Path, member: Member) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(member.read())
    except Exception as error:  # tokenizers raises no narrower class
        raise BundleInvalid(f"{path}: {TOKENIZER_FILE} cannot be read ({error})") from error
    tokenizer.no_truncation()  # a prompt that is too long is refused, not cut
    tokenizer.no_padding()
    return tokenizer
