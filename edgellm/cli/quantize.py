"""``edgellm quantize``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress


@click.command("quantize", short_help="Store and multiply the weights in fewer bits.")
@click.argument("stage", type=click.Path(path_type=Path))
@output_option("Stage folder")
@click.option("--scheme", default="int8", show_default=True, help="What the weights become.")
@click.option("--group-size", type=int, help="Weights that share a scale: 16 to 256.")
@click.option(
    "--symmetric/--asymmetric", default=None, help="Zero points in the middle, or chosen."
)
@click.option("--head-bits", type=int, help="Bits of head and embedding: 8 or 4.")
@click.option("--head-group-size", type=int, help="Their group size.")
@click.option(
    "--activations",
    type=click.Choice(["unsigned", "signed"]),
    help="For int8-dynamic: unsigned is fast on x86, signed on ARM; same numbers.",
)
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
    scheme: str,
    calibration: Path | None,
    no_calibration: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize the weights of the stage folder STAGE.

    \b
    Schemes:
      int8          blocks of 8 bits, int8 arithmetic; the default. Blocks of a
                    Q8_0 file are carried over exactly, those of Q4_0 by int4
      int4          blocks of 4 bits with zero points, head 8 bits; errors make up
                    for each other on calibration text (GPTQ)
      int8-dynamic  one scale per output, activations quantized per token; for
                    cores without dot-product instructions
      fp16          float16 in the file, float32 in memory
      fp32          unchanged

    \b
    Examples:
      edgellm quantize fp32 -o int8
      edgellm quantize fp32 -o int4 --scheme int4 --calibration mine.txt
      edgellm quantize fp32 -o mixed --scheme int4 --keep-float layers.0.
    """
    from edgellm.quantize.pipeline import choose_scheme, quantize_stage

    chosen = choose_scheme(scheme, options)
    with progress() as told:
        record = quantize_stage(
            stage,
            output,
            chosen,
            calibrate=not no_calibration,
            calibration=calibration,
            force=force,
            progress=told,
        )
    emit(as_json, record, describe(output, record.provenance[-1].measured))


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
