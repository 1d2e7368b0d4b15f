"""Hold a quantized model against limits, and take the next best where it crosses one.

A model is measured twice: whole windows at once, as in prefill, and token by token, as in decoding.
Kernels differ between the two, and so may what they lose. Both take the whole text: on one window
of it, rounding alone moves perplexity by a percent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edgellm.errors import ParityExceeded
from edgellm.evaluate.quality import CONTEXT_TOKENS, Method, evaluate
from edgellm.evaluate.subject import open_subject
from edgellm.evaluate.text import load_text
from edgellm.records.folder import whole
from edgellm.records.progress import Progress, silent
from edgellm.records.quality import Feeding, Quality

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may lose against the one in float.

    Attributes:
        perplexity: Share by which perplexity may grow.
        kl_divergence: Mean KL divergence, nats.
    """

    perplexity: float
    kl_divergence: float


LIMITS: Mapping[int, Limits] = {8: Limits(0.015, 0.03), 4: Limits(0.2, 0.2)}
"""By the fewest bits of a weight."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured, and whether it keeps the limits.

    Attributes:
        limits: The limits.
        prefill: Whole windows at once.
        decode: Token by token.
    """

    limits: Limits
    prefill: Quality
    decode: Quality

    @property
    def kept(self) -> bool:
        """Whether no figure crosses its limit."""
        growth = max(_growth(self.prefill), _growth(self.decode))
        divergences = (self.prefill.kl_divergence, self.decode.kl_divergence)
        return growth <= self.limits.perplexity and all(
            d is not None and d <= self.limits.kl_divergence for d in divergences
        )

    def __str__(self) -> str:
        """Return the figures and the limits in a sentence."""
        return (
            f"prefill: perplexity {_growth(self.prefill):+.2%}, "
            f"KL divergence {self.prefill.kl_divergence:.4f}; "
            f"token by token: perplexity {_growth(self.decode):+.2%}, "
            f"KL divergence {self.decode.kl_divergence:.4f} "
            f"(limits: {self.limits.perplexity:+.2%}, {self.limits.kl_divergence:g} nats)"
        )


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """One candidate and what it came to."""

    candidate: T
    verdict: Verdict


def _growth(quality: Quality) -> float:
    """Return by which share perplexity is larger than that of the model in float."""
    assert quality.reference_perplexity is not None
    return quality.perplexity / quality.reference_perplexity - 1


def measure(
    stage: Path,
    reference: Path,
    feedings: Sequence[Feeding] = ("prefill",),
    *,
    progress: Progress = silent,
) -> list[Quality]:
    """Measure a stage folder against one in float, on the text that ships.

    Args:
        stage: The folder.
        reference: The one in float.
        feedings: How the text goes through; each gives a result.
        progress: Told about the measurement.
    """
    subject, other = open_subject(stage, progress), open_subject(reference, progress)
    text = load_text(None, [subject.provenance, other.provenance])
    context = min(CONTEXT_TOKENS, subject.model.kv.max_context)
    methods = [Method(context, context // 2, f, float_reference=True) for f in feedings]
    return [evaluate(subject, text, method, other, progress=progress) for method in methods]


def examine(
    stage: Path, reference: Path, limits: Limits, *, progress: Progress = silent
) -> Verdict:
    """Measure a stage folder against the one in float that it was made from, in both ways.

    Args:
        stage: The quantized one.
        reference: The one in float.
        limits: What it may lose.
        progress: Told about the measurement.
    """
    both: tuple[Feeding, ...] = ("prefill", "token-by-token")
    return Verdict(limits, *measure(stage, reference, both, progress=progress))


def first_within(
    candidates: Iterable[T],
    make: Callable[[T, Path], object],
    judge: Callable[[T, Path], Verdict],
    output: Path,
    *,
    force: bool = False,
) -> list[Attempt[T]]:
    """Make candidates until one keeps its limits; that one becomes ``output``.

    Args:
        candidates: The best first; only as many are asked for as are needed.
        make: Writes a candidate's stage folder, over one that is there.
        judge: Measures it, see :func:`examine`.
        output: What to write; it is whole or absent.
        force: Replace it.

    Returns:
        All that were tried; the last is the one that was taken.

    Raises:
        ParityExceeded: None keeps the limits; the message has the figures of the last.
    """
    tried: list[Attempt[T]] = []
    with whole(output, force=force) as scratch:
        for candidate in candidates:
            make(candidate, scratch)
            tried.append(Attempt(candidate, judge(candidate, scratch)))
            if tried[-1].verdict.kept:
                return tried
        raise ParityExceeded(
            f"none of {len(tried)} ways to quantize keeps the limits; the last: "
            f"{tried[-1].verdict}; allow more with --max-perplexity and --max-kl, or take more bits"
        )
