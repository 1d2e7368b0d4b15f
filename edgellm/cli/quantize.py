"""``edgellm quantize``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress
from edgellm.cli._target import guard_options, quantize_chosen, read_choice

if TYPE_CHECKING:
    from edgellm.quantize.scheme import Scheme


@click.command("quantize", short_help="Store and multiply the weights in fewer bits.")
@click.argument("stage", type=click.Path(path_type=Path))
@output_option("Stage folder")
@click.option("--scheme", help="What the weights become: int8, or auto with --target.")
@click.option("--target", metavar="ID", help="Choose kernels for this board: edgellm targets.")
@guard_options
@click.option(
    "--prompt-tokens",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="For --target: tokens of the prompts that the model will get.",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="For --target: tokens that it will answer.",
)
@click.option("--group-size", type=int, help="Weights that share a scale: 16 to 256.")
@click.option(
    "--symmetric/--asymmetric", default=None, help="Zero points in the middle, or chosen."
)
@click.option("--head-bits", type=int, help="Bits of head and embedding: 8 or 4.")
@click.option("--head-group-size", type=int, help="Their group size.")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="STAGE",
    help="Leave a stage (head, attention) or node prefix (layers.0.) in float; repeatable.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For int4: UTF-8 text that says which errors matter; one ships with edgellm.",
)
@click.option("--no-calibration", is_flag=True, help="Round every weight to the nearest value.")
@json_option
@handle_errors
def command(
    *,
    stage: Path,
    output: Path,
    force: bool,
    scheme: str | None,
    target: str | None,
    max_perplexity: float | None,
    max_kl: float | None,
    no_guard: bool,
    prompt_tokens: int,
    output_tokens: int,
    calibration: Path | None,
    no_calibration: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize the weights of the stage folder STAGE.

    \b
    Schemes:
      auto          with --target: for each kind of matmul the kernel that needs the
                    fewest instructions on that board; int8 and int4 restrict it to
                    those bits there. What loses more quality than is allowed, in
                    prefill or token by token, gives way to the next best
      int8          blocks of 8 bits, int8 arithmetic; the default. Blocks of a
                    Q8_0 file are carried over exactly, those of Q4_0 by int4
      int4          blocks of 4 bits with zero points, head 8 bits; errors make up
                    for each other on calibration text (GPTQ)
      int8-dynamic  one scale per output, activations quantized per token and
                    group of inputs; on Arm by kernels of our own
      fp16          float16 in the file, float32 in memory
      fp32          unchanged

    \b
    Examples:
      edgellm quantize fp32 -o int8
      edgellm quantize fp32 -o pi4 --target raspberry-pi-4b-4gb
      edgellm quantize fp32 -o int4 --scheme int4 --calibration mine.txt
      edgellm quantize fp32 -o mixed --scheme int4 --keep-float layers.0.
    """
    from edgellm.graph.stage_folder import open_stage
    from edgellm.quantize.pipeline import quantize_stage

    choosing = read_choice(
        scheme,
        target,
        options,
        (not no_guard, max_perplexity, max_kl),
        (prompt_tokens, output_tokens),
    )
    with progress() as told:

        def make(taken: "Scheme", place: Path) -> None:
            quantize_stage(
                stage,
                place,
                taken,
                calibrate=not no_calibration,
                calibration=calibration,
                force=True,
                progress=told,
            )

        chosen = quantize_chosen(stage, output, choosing, make, told, force=force)
    record = open_stage(output, check=False).record
    emit(
        as_json,
        record,
        "\n".join([describe(output, record.provenance[-1].measured), *chosen.lines]),
    )


def describe(output: Path, measured: Mapping[str, Any]) -> str:
    """Say what a quantization did."""
    lines = [f"{output}: {measured['matmuls']} matmuls quantized, {measured['mebibytes']:.0f} MiB"]
    if measured["matmuls"]:
        lines.append(
            f"weights changed by {100 * measured['weight_error_mean']:.2f} % on average, at most "
            f"{100 * measured['weight_error_max']:.2f} %; {measured['exact']} matmuls unchanged"
        )
    if "output_error_compensated" in measured:
        lines.append(
            f"outputs changed by {100 * measured['output_error_compensated']:.1f} % on average on "
            f"the calibration text, {100 * measured['output_error_rounded']:.1f} % if rounded"
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in measured["left_in_float"].items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        lines.append(f"left in float ({reason}): {len(names)} matmuls: {shown}")
    return "\n".join(lines)
