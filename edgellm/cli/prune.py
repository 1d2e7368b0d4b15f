"""``edgellm prune``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress

if TYPE_CHECKING:
    from edgellm.prune.plan import PrunePlan
    from edgellm.prune.pruning import Pruned, Request


@click.command("prune", short_help="Remove layers and feed-forward channels.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@output_option("Stage folder")
@click.option("--layers", default=0, help="Layers to remove: those of least block influence.")
@click.option(
    "--ffn", default=0.0, metavar="RATIO", help="Share of feed-forward channels to remove, 0 to 1."
)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Replay a saved plan.")
@click.option(
    "--save-plan", type=click.Path(path_type=Path), help="Write the plan: what goes, and why."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="UTF-8 text that decides what goes; one ships with edgellm.",
)
@click.option("--threads", default=0, help="Threads; 0 (the default): one per available core.")
@json_option
@handle_errors
def command(
    *,
    folder: Path,
    output: Path,
    force: bool,
    layers: int,
    ffn: float,
    plan_file: Path | None,
    save_plan: Path | None,
    calibration: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Remove whole layers, then feed-forward channels, so that the model gets smaller and faster.

    Layers go by block influence: how much each turns what passes through it. Channels go by the
    energy that they add to their block's output; the down projection is then refitted to those
    that stay, by least squares. Both are measured on calibration text. A plan says what went; the
    same model, plan and text give the same bytes again.

    \b
    Examples:
      edgellm prune smol -o smol-pruned --layers 2 --ffn 0.1
      edgellm prune smol -o smol-pruned --ffn 0.2 --save-plan plan.json
      edgellm prune smol -o again --plan plan.json
    """
    from edgellm.prune.pipeline import prune_stage
    from edgellm.records import codec
    from edgellm.records.folder import claim_output

    if save_plan is not None:
        claim_output(save_plan, force=force)
    request = _request(layers, ffn, plan_file)
    with progress() as told:
        pruned, record = prune_stage(
            folder, output, request, calibration, threads=threads, force=force, progress=told
        )
    if save_plan is not None:
        codec.write(save_plan, pruned.plan)
    emit(as_json, record.provenance[-1], f"{_render(pruned)}\n\npruned model: {output}")


def _request(layers: int, ffn: float, plan_file: Path | None) -> "Request | PrunePlan":
    from edgellm.errors import UsageError
    from edgellm.prune.plan import PrunePlan
    from edgellm.prune.pruning import Request
    from edgellm.records import codec

    if plan_file is None:
        return Request(layers, ffn)
    if layers or ffn:
        raise UsageError("--plan says what goes; leave --layers and --ffn out")
    return codec.read(PrunePlan, plan_file)


def _render(pruned: "Pruned") -> str:
    before, after = pruned.parameters_before, pruned.parameters_after
    lines = [f"parameters: {before:,} -> {after:,} ({after / before - 1:+.1%})"]
    if pruned.plan.layers:
        gone = [choice for choice in pruned.plan.layers if choice.removed]
        named = ", ".join(f"{choice.layer} ({choice.block_influence:.4f})" for choice in gone)
        lines.append(f"layers removed (block influence): {named}")
        lines += [
            f"  layer {error.layer} stands in: {1 - error.after:.0%} of what they added"
            for error in pruned.absorbed
        ]
    if pruned.plan.channels:
        lines.append("layer  channels       importance kept  error of the output, refit")
        for choice, error in zip(pruned.plan.channels, pruned.refits, strict=True):
            channels = f"{choice.width} -> {len(choice.kept)}"
            lines.append(
                f"{choice.layer:5d}  {channels:<13}  {choice.importance_kept:15.1%}"
                f"  {error.before:.1%} -> {error.after:.1%}"
            )
    return "\n".join(lines)
