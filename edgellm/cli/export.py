"""``edgellm export``."""

from pathlib import Path

import click

from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress


@click.command("export", short_help="Write a model as an ONNX graph, proven equal to PyTorch.")
@click.argument("model")
@output_option("Stage folder")
@json_option
@handle_errors
def command(*, model: str, output: Path, force: bool, as_json: bool) -> None:
    """Write MODEL as an ONNX graph with its tokenizer, and hold it against PyTorch.

    MODEL is a named model (smollm2-135m-instruct), a Hugging Face id or folder, or a GGUF file.
    Families of the table in edgellm/export/architectures.py get fused operators; any other goes
    through optimum's standard export, which runs, but slowly.

    \b
    Examples:
      edgellm export smollm2-135m-instruct -o fp32
      edgellm export ./Qwen2.5-0.5B-Instruct -o qwen
      edgellm export model.Q8_0.gguf -o fp32 --json
    """
    from edgellm.export.pipeline import export_model

    with progress() as told:
        record = export_model(model, output, force=force, progress=told)
    step = record.provenance[-1]
    parity = step.measured["parity"]
    slow = record.model.route == "standard"
    lines = [
        f"{output}: {record.model.name} ({record.model.architecture}), "
        f"{sum(f.bytes for f in record.files) / 2**20:.0f} MiB",
        f"parity with PyTorch over {len(parity['shapes'])} shapes: largest difference of a logit "
        f"{parity['max_abs']:.2g} (allowed {parity['tolerance']:.2g}), "
        f"greedy tokens equal {parity['greedy_equal']} of {parity['greedy_total']}",
    ]
    if slow:
        lines.append(
            f"{record.model.architecture} is outside the table of fused architectures: this is "
            "optimum's standard graph, the slow path"
        )
    emit(as_json, record, "\n".join(lines))
