"""``edgellm bench``."""

from pathlib import Path

import click

from edgellm.cli._common import handle_errors, json_option, output_option, progress


@click.command("bench", short_help="Measure a bundle on this machine.")
@click.argument("bundle", type=click.Path(path_type=Path))
@output_option("Report")
@click.option("--prompt-tokens", default=64, show_default=True, help="Length of the prompt.")
@click.option("--output-tokens", default=32, show_default=True, help="Tokens to produce.")
@click.option("--repetitions", default=5, show_default=True, help="Repetitions that count.")
@click.option("--warmup", default=1, show_default=True, help="Repetitions before, kept apart.")
@click.option("--threads", default=0, help="Threads; 0 (the default): one per available core.")
@click.option("--context", type=int, help="Cache size in tokens; by default what is needed.")
@json_option
@handle_errors
def command(
    *,
    bundle: Path,
    output: Path,
    force: bool,
    prompt_tokens: int,
    output_tokens: int,
    repetitions: int,
    warmup: int,
    threads: int,
    context: int | None,
    as_json: bool,
) -> None:
    """Measure a bundle on this machine, stage by stage, and write the raw samples.

    Every repetition runs the same: tokenize, prefill, then output tokens one by one (greedy, stop
    tokens ignored), then detokenize. Time and cycles are read at each boundary. TTFT is tokenize
    + prefill + first sample; loading is not in it.

    \b
    Examples:
      edgellm bench smol.edgellm -o int8.json
      edgellm bench smol.edgellm -o long.json --prompt-tokens 512 --threads 1
    """
    from edgellm.records import codec
    from edgellm.records.folder import claim_output
    from edgellm.runner import bench_text
    from edgellm.runner.harness import Plan, measure_bundle

    plan = Plan(prompt_tokens, output_tokens, repetitions, warmup, threads, context)
    claim_output(output, force=force)
    with progress() as told:
        report = measure_bundle(bundle, plan, progress=told)
    codec.write(output, report)
    text = f"{bench_text.render(report)}\n\nreport: {output}\n"
    click.echo(codec.dumps(report) if as_json else text, nl=False)
