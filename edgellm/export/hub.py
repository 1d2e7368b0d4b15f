"""Models of the Hugging Face hub, in the cache that its client keeps."""

import functools
from pathlib import Path

from edgellm.errors import UsageError

FILES = ["*.json", "*.jinja", "*.txt", "*.model", "README.md"]
SAFETENSORS, TORCH = "model*.safetensors", "pytorch_model*.bin"


def fetch_snapshot(repo: str, revision: str | None) -> tuple[Path, str]:
    """Bring a hub model into Hugging Face's own cache, or find it there when offline.

    The hub's client draws its own progress on stderr.

    Args:
        repo: ``owner/name``.
        revision: Branch, tag or commit; None is the main branch.

    Returns:
        The snapshot's folder and the commit that it is of.

    Raises:
        UsageError: The model is neither on the hub nor in the cache.
    """
    snapshot = _snapshot(repo, revision, [*FILES, SAFETENSORS])
    if not any(snapshot.glob(SAFETENSORS)):
        snapshot = _snapshot(repo, revision, [*FILES, TORCH])
    return snapshot, snapshot.name


def _snapshot(repo: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    fetch = functools.partial(
        snapshot_download,
        repo,
        revision=revision,
        allow_patterns=patterns,
        ignore_patterns="*/*",  # other formats lie in subfolders
    )
    try:
        return Path(fetch())
    except (OSError, ValueError) as error:  # the network's errors and the hub's are both OSError
        try:
            return Path(fetch(local_files_only=True))
        except (OSError, ValueError):
            raise UsageError(
                f"{repo} is no path here, not in the local cache, and could not be fetched from "
                f"the hub ({type(error).__name__}); check the name and the network, or give a "
                "path to a model"
            ) from error
