"""``quantize``: a stage folder in float becomes one in fewer bits."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgellm.graph.stage_folder import derive_stage, load_graph, open_stage, versions
from edgellm.quantize.apply import quantize
from edgellm.quantize.scheme import Scheme, find_scheme
from edgellm.records import codec
from edgellm.records.folder import claim_output
from edgellm.records.manifest import StageRecord, Step
from edgellm.records.progress import Progress, silent


def choose_scheme(name: str, options: Mapping[str, Any]) -> Scheme:
    """Return the scheme called ``name``, changed by the options that are not None.

    Args:
        name: See :data:`edgellm.quantize.scheme.SCHEMES`.
        options: Fields of :class:`Scheme`, and ``activations``: ``signed`` or ``unsigned``.

    Raises:
        UsageError: No such scheme, or a value that is not possible.
    """
    changes = {key: value for key, value in options.items() if value is not None}
    if "activations" in changes:
        changes["signed_activations"] = changes.pop("activations") == "signed"
    return dataclasses.replace(find_scheme(name), **changes)


def quantize_stage(
    stage: Path,
    output: Path,
    scheme: Scheme,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> StageRecord:
    """Quantize the graph of ``stage`` into the new stage folder ``output``.

    Raises:
        UsageError: ``stage`` is no stage folder, or the output cannot be written.
        UnsupportedModel: The graph is quantized already.
    """
    claim_output(output, force=force)
    source = open_stage(stage, progress=progress)
    graph = load_graph(source)
    outcome = quantize(graph.graph, scheme, progress)
    weights = sum(v.const_value.nbytes for v in graph.graph.initializers.values() if v.const_value)
    step = Step(
        action="quantize",
        parameters=codec.to_json(scheme),
        measured={**outcome.measured(), "mebibytes": weights / 2**20},
        versions=versions("onnx-ir", "numpy"),
        input_digest=source.record.digest,
    )
    return derive_stage(source, output, graph, step, force=force, progress=progress)
