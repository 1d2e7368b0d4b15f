"""``edgellm bundle``."""

from pathlib import Path

import click

from edgellm.cli._board import describe_wheels, fit_option, target_option, wheels_option
from edgellm.cli._common import emit, handle_errors, json_option, output_option, progress


@click.command("bundle", short_help="Pack a model with its runner, for a board.")
@click.argument("stage", metavar="DIR", type=click.Path(path_type=Path))
@output_option("Bundle folder, or one .edgellm file,")
@click.option(
    "--quality",
    "quality_file",
    type=click.Path(path_type=Path),
    help="What edgellm evaluate wrote about DIR; it goes with the bundle.",
)
@target_option
@wheels_option
@fit_option
@json_option
@handle_errors
def command(
    *,
    stage: Path,
    output: Path,
    force: bool,
    quality_file: Path | None,
    target: str | None,
    wheels: bool | None,
    no_fit_check: bool,
    as_json: bool,
) -> None:
    """Pack a stage folder with all that a board needs.

    The bundle holds the model, the tokenizer, the chat template as a table, golden tokens that
    tell whether a board answers as this machine does, and the runner itself: an .edgellm file is a
    program, and a folder has runner.pyz. With --target it also brings numpy, onnxruntime and
    tokenizers for that board's Pythons, which install unpacks there without a network.

    \b
    Examples:
      edgellm bundle int8 -o smol.edgellm --target raspberry-pi-4b-4gb
      python3 smol.edgellm install
      python3 smol.edgellm run --prompt "What is a clock cycle?"
    """
    from edgellm.bundle.build import Board, build_bundle
    from edgellm.records import codec
    from edgellm.records.quality import Quality
    from edgellm.targets import load

    quality = codec.read(Quality, quality_file) if quality_file else None
    board = Board(load(target) if target else None, wheels, not no_fit_check)
    with progress() as told:
        built = build_bundle(
            stage, output, board=board, quality=quality, force=force, progress=told
        )
    if built.note:
        click.echo(f"edgellm: note: {built.note}", err=True)
    size = sum(entry.bytes for entry in built.manifest.files)
    result = {"bundle": str(output), "bytes": size, "digest": built.manifest.digest}
    lines = [f"{output}: {size / 2**20:.1f} MiB", *describe_wheels(built.manifest)]
    emit(as_json, {**result, "note": built.note}, "\n".join(lines))
