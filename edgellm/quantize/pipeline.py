"""``quantize``: a stage folder in float becomes one in fewer bits."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgellm.calibrate.calibration import Calibration, load_calibration
from edgellm.calibrate.observe import Array, Watch, observe
from edgellm.errors import UsageError
from edgellm.graph.stage_folder import StageFolder, derive_stage, load_graph, open_stage, versions
from edgellm.quantize.apply import quantize
from edgellm.quantize.choose import CHOICES, Plan, Workload, choose, plans
from edgellm.quantize.compensated import Compensated, compensate_matmuls, gain
from edgellm.quantize.costs import core_of
from edgellm.quantize.operators import define_operators
from edgellm.quantize.scheme import FLOAT, Scheme, find_scheme
from edgellm.quantize.sensitivity import TOKENS, losses
from edgellm.records import codec
from edgellm.records.folder import claim_output
from edgellm.records.manifest import TOKENIZER_FILE, WEIGHTS_FILE, StageRecord, Step
from edgellm.records.progress import Progress, silent
from edgellm.records.target import Target


def choose_scheme(name: str, options: Mapping[str, Any]) -> Scheme:
    """Return the scheme called ``name``, changed by the options that are not None.

    Args:
        name: See :data:`edgellm.quantize.scheme.SCHEMES`.
        options: Fields of :class:`Scheme`, and ``keep_float``: keys of ``layers`` that stay in
            float.

    Raises:
        UsageError: No such scheme, or a value that is not possible.
    """
    changes = {key: value for key, value in options.items() if value is not None}
    if "keep_float" in changes:
        changes["layers"] = dict.fromkeys(changes.pop("keep_float"), FLOAT)
    return dataclasses.replace(find_scheme(name), **changes)


def quantize_stage(
    stage: Path,
    output: Path,
    scheme: Scheme,
    *,
    calibrate: bool = True,
    calibration: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> StageRecord:
    """Quantize the graph of ``stage`` into the new stage folder ``output``.

    Args:
        stage: The folder to read.
        output: The folder to write.
        scheme: What to do.
        calibrate: Whether a scheme that compensates its errors may; else it rounds to nearest, as
            for a stage without a tokenizer.
        calibration: UTF-8 text whose activations say how; the one that ships where None.
        force: Replace ``output``.
        progress: Told about every step.

    Raises:
        UsageError: ``stage`` is no stage folder, the text cannot be used, or the output cannot be
            written.
        UnsupportedModel: The graph is quantized already.
    """
    claim_output(output, force=force)
    if calibration is not None and not (calibrate and scheme.compensates):
        raise UsageError(
            f"{calibration} would not be read: only 4-bit blocks take a calibration text, and only "
            "without --no-calibration; leave --calibration out"
        )
    source = open_stage(stage, progress=progress)
    scheme = scheme.for_source(_stored_as(source.record))
    graph = load_graph(source)
    text = None
    compensated: dict[str, Compensated] = {}
    if calibrate and scheme.compensates and (stage / TOKENIZER_FILE).is_file():
        longest = source.record.model.kv.max_context
        text = load_calibration(stage / TOKENIZER_FILE, calibration, longest)
        run = functools.partial(_observe, graph, source, text, progress)
        compensated = compensate_matmuls(graph.graph, scheme, run, progress)
    ready = {name: one.blocks for name, one in compensated.items()}
    outcome = quantize(graph.graph, scheme, progress, ready)
    define_operators(graph)
    weights = sum(v.const_value.nbytes for v in graph.graph.initializers.values() if v.const_value)
    step = Step(
        action="quantize",
        parameters={
            **codec.to_json(scheme),
            "calibration": None if text is None else codec.to_json(text.used),
        },
        measured={**outcome.measured(), **gain(compensated), "mebibytes": weights / 2**20},
        versions=versions("onnxruntime", "onnx-ir", "numpy"),
        input_digest=source.record.digest,
    )
    return derive_stage(source, output, graph, step, force=force, progress=progress)


def plan_stage(stage: Path, target: Target, name: str, workload: Workload) -> Iterator[Plan]:
    """Yield plans for a target, the cheapest first, then those that lose less quality.

    Args:
        stage: A stage folder in float.
        target: What the model will run on.
        name: Which kernels to choose from: a key of :data:`~edgellm.quantize.choose.CHOICES`.
        workload: What it will do there.

    Raises:
        UsageError: No core like the target's was counted, or ``name`` leaves nothing to choose.
    """
    core = core_of(target)
    if core is None:
        raise UsageError(
            f"no core like those of {target.id} ({target.arch}) was counted, so nothing can be "
            "chosen for it; name a scheme with --scheme and leave --target out"
        )
    source = open_stage(stage)
    graph = load_graph(source)
    text = load_calibration(stage / TOKENIZER_FILE, None, TOKENS)
    short = dataclasses.replace(text, sequences=text.sequences[:1])
    run = functools.partial(_observe, graph, source, short, silent)
    first = choose(graph.graph, core, CHOICES[name], workload)
    return plans(first, lambda: losses(graph.graph, run))


def _stored_as(record: StageRecord) -> Mapping[str, int]:
    """Return how the model's file holds the weights; nothing where a step has changed them."""
    first, *others = record.provenance
    stored: Mapping[str, int] = first.parameters.get("stored_as", {})
    return {} if others else stored


def _observe(
    graph: ir.Model, source: StageFolder, text: Calibration, progress: Progress, watch: Watch
) -> Iterator[tuple[list[Array], list[Array]]]:
    weights = source.path / WEIGHTS_FILE
    return observe(graph, source.record.model, watch, text.sequences, weights, progress=progress)
