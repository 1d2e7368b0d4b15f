"""The slow path: optimum's standard export, for decoders outside our own table."""

import contextlib
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgellm.errors import UnsupportedModel
from edgellm.export.source import Source
from edgellm.graph.stage_folder import save_graph
from edgellm.records.manifest import KVLayout, ModelFacts
from edgellm.records.progress import Progress, silent

TASK = "text-generation-with-past"
# How configurations call the longest context; transformers maps some of them onto the first.
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def export_standard(source: Source, scratch: Path, *, progress: Progress = silent) -> ModelFacts:
    """Export a decoder as optimum does, weights in float32 and all of them external.

    The graph's inputs are ``input_ids``, ``attention_mask``, ``position_ids`` where the model
    uses them, and ``past_key_values.I.key|value``; its outputs ``logits`` for every position and
    ``present.I.key|value``.

    Args:
        source: A model with a Hugging Face folder.
        scratch: An existing folder; the graph and its weights are written there.
        progress: Told about the two steps.

    Returns:
        What whoever runs the graph must know, ``route`` being ``standard``.

    Raises:
        UnsupportedModel: The source is GGUF, optimum does not know the architecture, or its graph
            keeps its cache in another form.
    """
    family = source.config["model_type"]
    if source.folder is None:
        raise UnsupportedModel(
            f"{source.name} is of architecture {family!r}, which edgellm exports from a Hugging "
            "Face folder only, not from GGUF"
        )
    progress(f"exporting {family} through optimum", 0, 1)
    work = scratch / "optimum"
    _run_optimum(source.folder, work, family)
    graph = ir.load(work / "model.onnx")
    facts = _facts(source, graph)
    save_graph(graph, scratch, progress)
    shutil.rmtree(work)
    return facts


def _run_optimum(folder: Path, work: Path, family: str) -> None:
    with _quiet():
        from optimum.exporters.onnx import main_export

        try:
            main_export(
                str(folder),
                work,
                task=TASK,
                dtype="fp32",
                do_validation=False,  # parity is measured by our own runner
                local_files_only=True,
                library_name="transformers",
            )
        except (ValueError, KeyError, NotImplementedError) as error:
            raise UnsupportedModel(
                f"architecture {family!r} is neither in edgellm's table nor exported by optimum "
                f"({error})"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's and optimum's remarks off the screen; they advise developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _facts(source: Source, graph: ir.Model) -> ModelFacts:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    family = source.config["model_type"]
    context = next((getattr(config, key) for key in CONTEXT_KEYS if hasattr(config, key)), None)
    if context is None:
        raise UnsupportedModel(f"the configuration of {family!r} names no longest context")
    return ModelFacts(
        name=source.name,
        architecture=family,
        task="text-generation",
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        kv=_kv_layout(graph, family, context),
        route="standard",
        bos_token_id=source.bos_token_id,
        stop_token_ids=source.stop_token_ids,
        license=source.license,
    )


def _kv_layout(graph: ir.Model, family: str, context: int) -> KVLayout:
    """Read the cache's shape from the graph: per layer (batch, kv_heads, past, head_dim)."""
    keys = [value for value in graph.graph.inputs if _is_cache(value, "key")]
    values = [value for value in graph.graph.inputs if _is_cache(value, "value")]
    dims: set[Any] = {
        (v.shape[1], v.shape[3]) for v in keys + values if v.shape and len(v.shape) == 4
    }
    if not keys or len(keys) != len(values) or len(dims) != 1:
        raise UnsupportedModel(f"the graph of {family!r} keeps no key-value cache of one shape")
    heads, width = dims.pop()
    if not isinstance(heads, int) or not isinstance(width, int):
        raise UnsupportedModel(f"the graph of {family!r} leaves its cache's shape open")
    return KVLayout(len(keys), heads, width, "float32", context)


def _is_cache(value: ir.Value, part: str) -> bool:
    name = value.name or ""
    return name.startswith("past_key_values.") and name.endswith(f".{part}")
