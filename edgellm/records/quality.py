"""``quality.json``: what a model makes of a text, alone or against a reference.

History of the format:
    quality 1: first version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from edgellm.records.samples import Unavailable

Feeding = Literal["prefill", "token-by-token"]
"""One pass per window, or one token after the other as in decoding: kernels differ between the
two, and quantized activations may be scaled over everything that goes through at once."""


@dataclass(frozen=True, slots=True)
class TextUsed:
    """The text: ``scored_tokens`` of its ``tokens`` were predicted, each once."""

    name: str
    sha256: str
    tokens: int
    scored_tokens: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model that was evaluated."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One window: its scored tokens and the sums over them.

    Attributes:
        tokens: Tokens scored.
        nll: Sum of negative log-likelihoods, nats.
        reference_nll: The same of the reference, None without one.
    """

    tokens: int
    nll: float
    reference_nll: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of one model on one text.

    Attributes:
        model: What was evaluated.
        text: On what.
        context_tokens: Tokens of a window; none sees further back.
        stride_tokens: Tokens scored per window: the last ones, all but one in the first.
        feeding: How tokens went in.
        windows: Sums per window, the samples of ``perplexity_ratio``.
        perplexity: exp(mean negative log-likelihood per scored token), natural logarithm.
        reference: What it was compared with; None leaves the following at None.
        reference_perplexity: Its perplexity on the same tokens.
        perplexity_ratio: perplexity / reference_perplexity; bootstrap over windows, paired.
        kl_divergence: Mean over scored positions of KL(reference || model), nats.
        kl_divergence_p99: Its 99th percentile.
        kl_divergence_max: Its maximum.
        top1_agreement: Share of positions with the same most likely token, 0 to 1.
        unavailable: What could not be had, and why.
    """

    KIND: ClassVar[str] = "quality"
    SCHEMA: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    model: Evaluated
    text: TextUsed
    context_tokens: int
    stride_tokens: int
    feeding: Feeding
    windows: tuple[WindowScore, ...]
    perplexity: float
    reference: Evaluated | None = None
    reference_perplexity: float | None = None
    perplexity_ratio: Interval | None = None
    kl_divergence: float | None = None
    kl_divergence_p99: float | None = None
    kl_divergence_max: float | None = None
    top1_agreement: float | None = None
    unavailable: tuple[Unavailable, ...] = ()
