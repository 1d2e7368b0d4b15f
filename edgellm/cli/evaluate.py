"""``edgellm evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._common import emit, handle_errors, json_option, progress

if TYPE_CHECKING:
    from edgellm.records.quality import Quality


@click.command("evaluate", short_help="Measure what a model makes of a text.")
@click.argument("model", metavar="DIR|BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="DIR|BUNDLE",
    type=click.Path(path_type=Path),
    help="Reference: adds KL divergence and top-1 agreement.",
)
@click.option("--text", type=click.Path(path_type=Path), help="UTF-8 text; one ships with edgellm.")
@click.option("--tokens", type=click.IntRange(2), help="Use only the first tokens of the text.")
@click.option(
    "--context",
    type=click.IntRange(2),
    help="Tokens of a window; by default 512, or what the model can take.",
)
@click.option(
    "--stride",
    type=click.IntRange(1),
    help="Tokens scored per window; by default half of the context.",
)
@click.option(
    "--token-by-token",
    is_flag=True,
    help="Feed single tokens, as in decoding, instead of whole windows, as in prefill.",
)
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Threads; 0 (the default): one per available core.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Quality record to write.")
@click.option("--force", is_flag=True, help="Replace the output where it exists already.")
@json_option
@handle_errors
def command(
    *,
    model: Path,
    against: Path | None,
    text: Path | None,
    tokens: int | None,
    context: int | None,
    stride: int | None,
    token_by_token: bool,
    threads: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure perplexity, and how far a model is from its reference.

    Perplexity is exp of the mean negative log-likelihood per token, in windows that overlap; it
    compares only on the same text and tokens. KL divergence is that of the reference from the
    model, in nats, over the whole vocabulary at every position.

    \b
    Examples:
      edgellm evaluate smol-int8 --against smol
      edgellm evaluate smol.edgellm --against smol --text article.txt -o quality.json
    """
    from edgellm.evaluate.quality import CONTEXT_TOKENS, Method, evaluate
    from edgellm.evaluate.subject import open_subject
    from edgellm.evaluate.text import load_text
    from edgellm.records import codec
    from edgellm.records.folder import claim_output

    if output is not None:
        claim_output(output, force=force)
    with progress() as told:
        subject = open_subject(model, told)
        reference = open_subject(against, told) if against is not None else None
        context = context or min(CONTEXT_TOKENS, subject.model.kv.max_context)
        method = Method(
            context,
            stride or context // 2,
            "token-by-token" if token_by_token else "prefill",
            tokens,
        )
        histories = [s.provenance for s in (subject, reference) if s is not None]
        quality = evaluate(
            subject,
            load_text(text, histories),
            method,
            reference,
            threads=threads,
            progress=told,
        )
    if output is not None:
        codec.write(output, quality)
    emit(as_json, quality, _render(quality))


def _render(quality: "Quality") -> str:
    text = quality.text
    lines = [
        f"text: {text.name} ({text.scored_tokens} tokens scored, windows of "
        f"{quality.context_tokens} with stride {quality.stride_tokens}, fed by {quality.feeding})",
        f"perplexity: {quality.perplexity:.3f}",
    ]
    if quality.reference is not None:
        lines += [
            f"reference: {quality.reference.name}, perplexity {quality.reference_perplexity:.3f}",
            _ratio(quality),
            f"KL divergence, nats: mean {quality.kl_divergence:.4f}, "
            f"p99 {quality.kl_divergence_p99:.4f}, max {quality.kl_divergence_max:.4f}",
            f"same top-1: {quality.top1_agreement:.1%}",
        ]
    return "\n".join(lines)


def _ratio(quality: "Quality") -> str:
    ratio = quality.perplexity_ratio
    if ratio is None:
        return f"perplexity ratio: not available: {quality.unavailable[0].why}"
    return (
        f"perplexity ratio: {ratio.value:.4f} (95 % interval {ratio.low:.4f} to {ratio.high:.4f}, "
        f"{len(quality.windows)} windows)"
    )
