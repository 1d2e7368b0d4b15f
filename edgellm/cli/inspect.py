"""``edgellm inspect``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgellm.cli._common import emit, handle_errors, json_option

if TYPE_CHECKING:
    from edgellm.graph.inspect import GraphWork, Work
    from edgellm.records.manifest import ModelFacts, Step

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Inspection:
    """What ``inspect`` found; bytes and MACs are those of one token decoded at the context.

    ``weight_bytes`` are held, ``read_bytes`` are read for the token, without the cache.
    """

    digest: str
    model: "ModelFacts"
    provenance: "tuple[Step, ...]"
    context_tokens: int
    kv_cache_bytes: int
    total: "Work"
    stages: "dict[str, Work]"
    operators: dict[str, int]
    float_matmuls: tuple[str, ...]
    uncounted: tuple[str, ...]


@click.command("inspect", short_help="Show what a model is made of, and what a token costs.")
@click.argument("path", metavar="DIR|BUNDLE", type=click.Path(path_type=Path))
@click.option("--layers", is_flag=True, help="One row per layer and stage, not per kind of stage.")
@click.option(
    "--context",
    type=click.IntRange(0),
    default=512,
    show_default=True,
    help="Tokens in the cache when the token is decoded.",
)
@json_option
@handle_errors
def command(*, path: Path, layers: bool, context: int, as_json: bool) -> None:
    """Show a model's history, parameters, bytes, and multiply-accumulates per decoded token.

    \b
    Examples:
      edgellm inspect smol-int8
      edgellm inspect smol.edgellm --layers --context 2048
    """
    found = _inspect(path, layers=layers, context=context)
    emit(as_json, found, _render(found))


def _inspect(path: Path, *, layers: bool, context: int) -> Inspection:
    from edgellm.graph.inspect import inspect, parse
    from edgellm.graph.stage_folder import load_graph, open_stage
    from edgellm.records import stages
    from edgellm.records.manifest import MODEL_FILE, STAGE_FILE, BundleManifest, StageRecord
    from edgellm.runner.load import open_bundle

    record: StageRecord | BundleManifest
    if path.is_dir() and (path / STAGE_FILE).is_file():
        stage = open_stage(path, check=False)
        record, graph = stage.record, load_graph(stage)
    else:
        bundle = open_bundle(path, check=False)
        record = bundle.manifest
        graph = parse(bundle.files[MODEL_FILE].read(), f"{path}: {MODEL_FILE}")
    work: GraphWork = inspect(graph, record.model, context)
    return Inspection(
        digest=record.digest,
        model=record.model,
        provenance=record.provenance,
        context_tokens=context,
        kv_cache_bytes=record.model.kv.bytes(context),
        total=work.total,
        stages=work.by(str if layers else stages.kind_of),
        operators=work.operators,
        float_matmuls=work.float_matmuls,
        uncounted=work.uncounted,
    )


def _render(found: Inspection) -> str:
    model, kv = found.model, found.model.kv
    total = found.total
    blocks = [
        [
            f"{model.name}: {model.architecture}, {kv.layers} layers, hidden {model.hidden_size}, "
            f"vocabulary {model.vocab_size:,}, {model.route} route",
            f"digest {found.digest[:12]}, licence {model.license or 'not stated'}",
            f"KV cache: {kv.kv_heads} heads of {kv.head_dim}, {kv.dtype}, up to {kv.max_context:,} "
            f"tokens; {found.kv_cache_bytes / MIB:.1f} MiB at {found.context_tokens:,}",
        ],
        ["history:", *(f"  {_step(step)}" for step in found.provenance)],
        _table(
            ("stage", "parameters", "weights, MiB", "read per token, MiB", "MACs per token, M"),
            [*found.stages.items(), ("total", total)],
        ),
        [
            f"operators: {', '.join(f'{n} {name}' for name, n in found.operators.items())}",
            _floats(found),
        ],
    ]
    if found.uncounted:
        blocks.append([f"MACs not counted, shapes unknown: {', '.join(found.uncounted)}"])
    return "\n\n".join("\n".join(block) for block in blocks)


def _step(step: "Step") -> str:
    shown = ", ".join(f"{name}={_short(value)}" for name, value in step.parameters.items())
    return f"{step.action}: {shown or 'no parameters'}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."


def _table(header: Sequence[str], rows: "Sequence[tuple[str, Work]]") -> list[str]:
    cells = [
        (
            name,
            f"{work.parameters:,}",
            f"{work.weight_bytes / MIB:.2f}",
            f"{work.read_bytes / MIB:.2f}",
            f"{work.macs / 1e6:.2f}",
        )
        for name, work in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *cells)
    ]


def _floats(found: Inspection) -> str:
    matmuls = found.float_matmuls
    if not matmuls:
        return "matmuls in float: none"
    if any(step.action == "quantize" for step in found.provenance):
        return f"matmuls in float: {', '.join(matmuls)}"
    return f"matmuls in float: all {len(matmuls)}; the model is not quantized"
