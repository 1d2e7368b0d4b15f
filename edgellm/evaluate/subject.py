"""What can be evaluated: a stage folder or a bundle, opened alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from edgellm.graph.stage_folder import open_stage
from edgellm.graph.text import read_tokenizer
from edgellm.records.manifest import MODEL_FILE, STAGE_FILE, TOKENIZER_FILE, ModelFacts, Step
from edgellm.records.progress import Progress, silent
from edgellm.records.quality import Evaluated
from edgellm.runner.load import open_bundle
from edgellm.runner.session import Engine, Session


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to evaluate.

    Attributes:
        identity: Its name and digest.
        model: Its facts.
        provenance: How it came about.
        tokenizer: Text to tokens.
        session: Opens it, given a number of threads and a context.
    """

    identity: Evaluated
    model: ModelFacts
    provenance: tuple[Step, ...]
    tokenizer: Tokenizer
    session: Callable[[int, int], Session]


def open_subject(path: Path, progress: Progress = silent) -> Subject:
    """Open and check a stage folder or a bundle.

    Raises:
        UsageError: It is neither.
        BundleInvalid: It is damaged.
    """
    if path.is_dir() and (path / STAGE_FILE).is_file():
        return _open_stage(path, progress)
    bundle = open_bundle(path, progress=progress)
    manifest = bundle.manifest
    return Subject(
        Evaluated(path.name, manifest.digest),
        manifest.model,
        manifest.provenance,
        bundle.tokenizer,
        lambda threads, context: bundle.session(threads=threads, context=context),
    )


def _open_stage(path: Path, progress: Progress) -> Subject:
    record = open_stage(path, progress=progress).record
    return Subject(
        Evaluated(path.name, record.digest),
        record.model,
        record.provenance,
        read_tokenizer(path / TOKENIZER_FILE),
        lambda threads, context: Session(
            path / MODEL_FILE, record.model, engine=Engine(threads), context=context
        ),
    )
