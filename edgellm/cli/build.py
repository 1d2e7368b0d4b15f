"""``edgellm build``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._board import describe_wheels, fit_option, target_option, wheels_option
from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress
from edgellm.cli._target import Choosing, Chosen, guard_options, quantize_chosen, read_choice
from edgellm.records.progress import Progress

if TYPE_CHECKING:
    from edgellm.quantize.scheme import Scheme
    from edgellm.records.quality import Quality


@click.command("build", short_help="The whole road in one command: from a model to a bundle.")
@click.argument("model")
@output_option("Bundle folder, or one .edgellm file,")
@click.option("--scheme", help="See edgellm quantize: int8, or auto with --target.")
@guard_options
@click.option("--layers", type=click.IntRange(0), default=0, help="Layers to prune (0).")
@click.option(
    "--ffn",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="RATIO",
    help="Share of feed-forward channels to prune, from 0 to below 1 (0).",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="UTF-8 text for pruning and for int4; one ships with edgellm.",
)
@click.option(
    "--evaluate/--no-evaluate",
    default=True,
    help="Measure what compression cost, on the text that ships; it goes with the bundle.",
)
@target_option
@wheels_option
@fit_option
@json_option
@handle_errors
def command(
    *,
    model: str,
    output: Path,
    force: bool,
    scheme: str | None,
    max_perplexity: float | None,
    max_kl: float | None,
    no_guard: bool,
    layers: int,
    ffn: float,
    calibration: Path | None,
    evaluate: bool,
    target: str | None,
    wheels: bool | None,
    no_fit_check: bool,
    as_json: bool,
) -> None:
    """Export MODEL, prune it where asked, quantize it, say what that cost, and pack a bundle.

    The same as export, prune, quantize, evaluate and bundle one after the other; use those to keep
    what lies between.

    \b
    Examples:
      edgellm build smollm2-135m-instruct -o smol.edgellm
      edgellm build model.gguf -o small.edgellm --scheme int4 --layers 2 --ffn 0.1
      edgellm build smollm2-135m-instruct -o smol.edgellm --target raspberry-pi-4b-4gb
    """
    from edgellm.bundle.build import Board, build_bundle
    from edgellm.evaluate.guard import measure
    from edgellm.export.pipeline import export_model
    from edgellm.records.folder import claim_output
    from edgellm.targets import load

    claim_output(output, force=force)
    board = Board(load(target) if target else None, wheels, not no_fit_check)
    choosing = read_choice(scheme, target, {}, (not no_guard, max_perplexity, max_kl))
    place = output.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=place) as scratch,
        progress() as told,
    ):
        exported = Path(scratch) / "exported"
        export_model(model, exported, progress=told)
        small, chosen = _compress(exported, choosing, (layers, ffn, calibration), told)
        quality = None
        if evaluate:  # the limits were measured against what was quantized, which may be pruned
            known = None if layers or ffn else chosen.quality
            quality = known or measure(small, exported, progress=told)[0]
        built = build_bundle(
            small, output, board=board, quality=quality, force=force, progress=told
        )
    size = sum(entry.bytes for entry in built.manifest.files)
    name = choosing.base.name
    lines = [
        f"{output}: {built.manifest.model.name}, {name}, {size / 2**20:.1f} MiB",
        *chosen.lines,
    ]
    lines += describe_wheels(built.manifest)
    if quality is not None:
        lines.append(_cost(quality))
    if built.note:
        click.echo(f"edgellm: note: {built.note}", err=True)
    emit(as_json, built.manifest, "\n".join(lines))


def _compress(
    exported: Path, choosing: Choosing, pruning: tuple[int, float, Path | None], told: Progress
) -> tuple[Path, Chosen]:
    from edgellm.prune.pipeline import prune_stage
    from edgellm.prune.pruning import Request
    from edgellm.quantize.pipeline import quantize_stage

    source = exported
    layers, ffn, calibration = pruning
    if layers or ffn:
        source = exported.with_name("pruned")
        prune_stage(exported, source, Request(layers, ffn), calibration, progress=told)

    def make(scheme: "Scheme", place: Path) -> None:
        text = calibration if scheme.compensates else None
        quantize_stage(source, place, scheme, calibration=text, force=True, progress=told)

    small = exported.with_name("quantized")
    return small, quantize_chosen(source, small, choosing, make, told)


def _cost(quality: "Quality") -> str:
    before, agree = quality.reference_perplexity, quality.top1_agreement
    return (
        f"perplexity {before:.3f} -> {quality.perplexity:.3f}, KL divergence "
        f"{quality.kl_divergence:.4f} nats, same top-1 {agree:.1%} on {quality.text.name}"
    )
