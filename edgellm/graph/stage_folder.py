"""Stage folders: ``model.onnx``, its weights, the tokenizer, and ``stage.json``."""

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgellm import __version__
from edgellm.errors import BundleInvalid, UsageError
from edgellm.records import codec, folder
from edgellm.records.manifest import (
    CHAT_TEMPLATE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    STAGE_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelFacts,
    StageRecord,
    Step,
)
from edgellm.records.progress import Progress, silent

INLINE_BYTES = 256  # smaller tensors stay in model.onnx, so that it reads on its own


@dataclass(frozen=True, slots=True)
class StageFolder:
    """An opened stage folder."""

    path: Path
    record: StageRecord


def open_stage(path: Path, *, check: bool = True, progress: Progress = silent) -> StageFolder:
    """Open a stage folder.

    Args:
        path: The folder.
        check: Compare every file with its recorded digest.
        progress: Told about the check.

    Raises:
        UsageError: Not a stage folder.
        BundleInvalid: Its record or a file is damaged.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; make it with: edgellm export MODEL -o {path}")
    if not (path / STAGE_FILE).is_file():
        kind = "a bundle, not a stage" if (path / MANIFEST_FILE).is_file() else "not a stage"
        raise UsageError(
            f"{path} is {kind} folder: it has no {STAGE_FILE}; "
            "give a folder that edgellm export, prune or quantize wrote"
        )
    record = codec.read(StageRecord, path / STAGE_FILE)
    if check:
        folder.verify(path, record.files, progress)
    return StageFolder(path, record)


def load_graph(stage: StageFolder) -> ir.Model:
    """Read the graph; weights stay on disk, mapped, until they are used.

    Raises:
        BundleInvalid: ``model.onnx`` cannot be parsed, or its weights are not in the folder.
    """
    path = stage.path / MODEL_FILE
    try:
        graph = ir.load(path)
    except Exception as error:  # protobuf and onnx raise many kinds
        raise BundleInvalid(f"{path} cannot be read as ONNX ({error}): it is damaged") from error
    weights = stage.path / WEIGHTS_FILE
    size = weights.stat().st_size if weights.is_file() else 0
    for name, value in graph.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and (
            tensor.location != WEIGHTS_FILE or (tensor.offset or 0) + tensor.nbytes > size
        ):
            raise BundleInvalid(
                f"{path}: {name} is at byte {tensor.offset} of {tensor.location}, "
                "which is not in the folder: it is damaged"
            )
    return graph


def save_graph(graph: ir.Model, target: Path, progress: Progress = silent) -> None:
    """Write ``model.onnx`` and its external data into the folder ``target``.

    Every weight is external from the first save, so no size is special; tensors are written one
    by one, so memory holds one of them.
    """

    def told(_tensor: ir.TensorProtocol, info: ir.external_data.CallbackInfo) -> None:
        progress("writing weights", info.index, info.total)

    ir.save(
        graph,
        target / MODEL_FILE,
        external_data=WEIGHTS_FILE,
        size_threshold_bytes=INLINE_BYTES,
        callback=told,
    )


def finish_stage(scratch: Path, model: ModelFacts, provenance: tuple[Step, ...]) -> StageRecord:
    """Write ``stage.json`` over the files that lie in ``scratch``; the last act of a step."""
    names = [p.name for p in scratch.iterdir() if p.is_file()]
    record = StageRecord(model, provenance, folder.entries(scratch, names))
    codec.write(scratch / STAGE_FILE, record)
    return record


def derive_stage(
    source: StageFolder,
    output: Path,
    graph: ir.Model,
    step: Step,
    *,
    model: ModelFacts | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> StageRecord:
    """Write a changed graph as a new stage folder with the source's tokenizer and history.

    Args:
        source: The folder that was read; nothing in it changes.
        output: The folder to write.
        graph: The changed graph.
        step: What was done; appended to the source's provenance.
        model: New facts, where the change altered them.
        force: Replace ``output``.
        progress: Told about the writing.

    Returns:
        The new folder's record.
    """
    with folder.whole(output, force=force) as scratch:
        save_graph(graph, scratch, progress)
        for name in (TOKENIZER_FILE, CHAT_TEMPLATE_FILE):
            if (source.path / name).is_file():
                shutil.copyfile(source.path / name, scratch / name)
        return finish_stage(
            scratch, model or source.record.model, (*source.record.provenance, step)
        )


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of edgellm and of ``packages``, for a step's record."""
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"edgellm": __version__, **found}
