"""``export``: a source becomes a stage folder that is proven equal to PyTorch."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgellm.errors import BundleInvalid
from edgellm.export.architectures import ARCHITECTURES, read_shape
from edgellm.export.decoder import build_decoder
from edgellm.export.parity import measure_parity, require, torch_reference
from edgellm.export.source import Source, open_source
from edgellm.export.tokenizer import check_tokenizer
from edgellm.export.weights import Weights
from edgellm.graph.stage_folder import finish_stage, save_graph, versions
from edgellm.records import codec
from edgellm.records.folder import claim_output, whole
from edgellm.records.manifest import (
    CHAT_TEMPLATE_FILE,
    TOKENIZER_FILE,
    KVLayout,
    ModelFacts,
    StageRecord,
    Step,
)
from edgellm.records.progress import Progress, silent


def export_model(
    model: str, output: Path, *, force: bool = False, progress: Progress = silent
) -> StageRecord:
    """Export a model to a stage folder.

    Args:
        model: A named model, a hub id, a Hugging Face folder or a GGUF file.
        output: The folder to write.
        force: Replace ``output``.
        progress: Told about every step.

    Returns:
        The folder's record; its step says what was measured against PyTorch.

    Raises:
        UsageError: No such model, or the output cannot be written.
        UnsupportedModel: The architecture or its configuration cannot be exported.
        ParityExceeded: The graph is not the model, or the tokenizer loses text; nothing is written.
    """
    claim_output(output, force=force)
    source = open_source(model, progress=progress)
    with whole(output, force=force) as scratch:
        facts = _write_graph(source, scratch, progress)
        unchecked = check_tokenizer(Tokenizer.from_str(source.tokenizer_json))
        (scratch / TOKENIZER_FILE).write_text(source.tokenizer_json, encoding="utf-8")
        if source.chat_template is not None:
            (scratch / CHAT_TEMPLATE_FILE).write_text(source.chat_template, encoding="utf-8")
        reference = torch_reference(source.config, source.weights, progress=progress)
        progress("comparing with PyTorch", 0, 1)
        parity = measure_parity(scratch, facts, reference)
        require(parity, facts.name)
        step = Step(
            action="export",
            parameters={
                **source.provenance,
                "route": facts.route,
                "stored_as": _stored_as(source.weights),
            },
            measured={
                "parity": codec.to_json(parity),
                "tokenizer_round_trip": f"not checked: {unchecked}" if unchecked else "equal",
            },
            versions=versions("torch", "transformers", "onnx-ir", "onnxruntime"),
        )
        return finish_stage(scratch, facts, (step,))


def _write_graph(source: Source, scratch: Path, progress: Progress) -> ModelFacts:
    architecture = ARCHITECTURES.get(source.config["model_type"])
    if architecture is None:
        from edgellm.export.standard import export_standard

        return export_standard(source, scratch, progress=progress)
    shape = read_shape(with_defaults(source.config), architecture)
    graph = build_decoder(source.name, architecture, shape, source.weights)
    save_graph(graph, scratch, progress)
    return ModelFacts(
        name=source.name,
        architecture=source.config["model_type"],
        task="generate",
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        kv=KVLayout(shape.layers, shape.kv_heads, shape.head_dim, "float32", shape.max_context),
        route="fused",
        bos_token_id=source.bos_token_id,
        stop_token_ids=source.stop_token_ids,
        license=source.license,
    )


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with what its file leaves out, as transformers fills it in.

    Raises:
        BundleInvalid: transformers cannot make sense of it.
    """
    from transformers import AutoConfig

    try:
        full: dict[str, Any] = AutoConfig.for_model(**config).to_dict()
    except Exception as error:  # each configuration class checks in its own way
        raise BundleInvalid(
            f"transformers cannot read this {config['model_type']} configuration ({error}); "
            "is its config.json damaged?"
        ) from error
    return full


def _stored_as(weights: Weights) -> dict[str, int]:
    """Count the matrices by the type that the source holds them in."""
    names = [name for name in weights.names() if len(weights.shape(name)) > 1]
    return dict(Counter(weights.stored_as(name) for name in names).most_common())
