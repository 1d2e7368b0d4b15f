"""Perplexity, and divergence from a reference, window by window.

Both models run side by side, so the logits of one window are all that is ever held.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import UsageError
from edgellm.evaluate.scores import (
    ROWS,
    Comparison,
    Logits,
    compare,
    concatenate,
    negative_log_likelihood,
)
from edgellm.evaluate.subject import Subject
from edgellm.evaluate.windows import Window, cut
from edgellm.graph.text import Text, Tokens, tokenize
from edgellm.records.progress import Progress, silent
from edgellm.records.quality import (
    Evaluated,
    Feeding,
    Interval,
    Quality,
    TextUsed,
    WindowScore,
)
from edgellm.records.samples import Unavailable
from edgellm.runner.session import Session

CONTEXT_TOKENS = 512
RESAMPLES = 2000
LEAST_WINDOWS = 5
"""An interval from fewer would be narrower than it is certain."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a text is fed and scored; see :class:`~edgellm.records.quality.Quality`.

    ``limit_tokens`` uses the beginning of the text only. ``float_reference`` says that the
    reference gives the same however it is fed, so that it is fed by prefill, which is faster.
    """

    context_tokens: int = CONTEXT_TOKENS
    stride_tokens: int = CONTEXT_TOKENS // 2
    feeding: Feeding = "prefill"
    limit_tokens: int | None = None
    float_reference: bool = False


def evaluate(
    subject: Subject,
    text: Text,
    method: Method,
    reference: Subject | None = None,
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Quality:
    """Evaluate a model on a text, and against a reference where there is one.

    Args:
        subject: The model.
        text: The text.
        method: Windows and feeding.
        reference: What to compare with; it must have the same tokens.
        threads: As in :class:`~edgellm.runner.session.Session`.
        progress: Told about the windows.

    Raises:
        UsageError: The two models have other tokens, or the text or a size does not fit.
    """
    tokens = _tokens(subject, text, method)
    if reference is not None:
        _check_same_tokens(subject, reference, tokens == _tokens(reference, text, method))
    windows = cut(tokens, method.context_tokens, method.stride_tokens)
    run = _Run(windows, method, progress)
    session = subject.session(threads, method.context_tokens)
    used = TextUsed(text.name, text.sha256, len(tokens.ids), sum(len(w.targets) for w in windows))
    if reference is None:
        return _quality(subject.identity, used, method, run.alone(session))
    compared = run.against(session, reference.session(threads, method.context_tokens))
    scores = [
        WindowScore(len(c.nll), float(c.nll.sum()), float(c.reference_nll.sum())) for c in compared
    ]
    quality = _quality(subject.identity, used, method, scores)
    return _with_reference(quality, reference.identity, concatenate(compared))


def _tokens(subject: Subject, text: Text, method: Method) -> Tokens:
    tokens = tokenize(text, subject.tokenizer)
    return replace(tokens, ids=tokens.ids[: method.limit_tokens])


def _check_same_tokens(subject: Subject, reference: Subject, same: bool) -> None:
    if not same or reference.model.vocab_size != subject.model.vocab_size:
        raise UsageError(
            f"{reference.identity.name} and {subject.identity.name} have other tokens, so neither "
            "perplexity nor divergence can be compared; evaluate them without --against"
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """The windows, and how they are fed."""

    windows: Sequence[Window]
    method: Method
    progress: Progress

    def alone(self, session: Session) -> list[WindowScore]:
        """Score a model by itself."""
        found = []
        for done, window in enumerate(self.windows):
            self.progress("evaluating", done, len(self.windows))
            feeding = self.method.feeding
            parts = zip(_logits(session, window, feeding), _targets(window), strict=True)
            nll = sum(float(negative_log_likelihood(*part).sum()) for part in parts)
            found.append(WindowScore(len(window.targets), nll))
        return found

    def against(self, session: Session, reference: Session) -> list[Comparison]:
        """Compare a model with a reference, one comparison per window."""
        found = []
        feeding = self.method.feeding
        theirs: Feeding = "prefill" if self.method.float_reference else feeding
        for done, window in enumerate(self.windows):
            self.progress("evaluating", done, len(self.windows))
            parts = zip(
                _logits(session, window, feeding),
                _logits(reference, window, theirs),
                _targets(window),
                strict=True,
            )
            found.append(concatenate([compare(*part) for part in parts]))
        return found


def _logits(session: Session, window: Window, feeding: Feeding) -> Iterator[Logits]:
    """Yield what predicts the scored tokens, ``ROWS`` at a time; valid until the next."""
    session.reset()
    fed = window.ids[:-1]  # the last token predicts nothing that is scored
    first = window.scored - 1
    if feeding == "prefill":
        logits = session.forward(np.array([fed], np.int64), every_position=True)[0, first:]
        for start in range(0, len(logits), ROWS):
            yield logits[start : start + ROWS]
        return
    for token in fed[:first]:
        session.step(token)
    for start in range(first, len(fed), ROWS):
        yield np.stack([session.step(token).copy() for token in fed[start : start + ROWS]])


def _targets(window: Window) -> Iterator[NDArray[np.int64]]:
    """Yield the scored tokens in the portions in which their logits come."""
    targets = np.array(window.targets, np.int64)
    for start in range(0, len(targets), ROWS):
        yield targets[start : start + ROWS]


def _quality(
    model: Evaluated, text: TextUsed, method: Method, scores: Sequence[WindowScore]
) -> Quality:
    return Quality(
        model=model,
        text=text,
        context_tokens=method.context_tokens,
        stride_tokens=method.stride_tokens,
        feeding=method.feeding,
        windows=tuple(scores),
        perplexity=math.exp(sum(s.nll for s in scores) / text.scored_tokens),
    )


def _with_reference(quality: Quality, reference: Evaluated, compared: Comparison) -> Quality:
    ratio = ratio_interval(quality.windows)
    why = f"an interval needs {LEAST_WINDOWS} windows, there are {len(quality.windows)}"
    return replace(
        quality,
        reference=reference,
        reference_perplexity=math.exp(
            sum(w.reference_nll or 0.0 for w in quality.windows) / quality.text.scored_tokens
        ),
        perplexity_ratio=ratio,
        kl_divergence=float(compared.divergence.mean()),
        kl_divergence_p99=float(np.quantile(compared.divergence, 0.99)),
        kl_divergence_max=float(compared.divergence.max()),
        top1_agreement=float(compared.agree.mean()),
        unavailable=() if ratio else (Unavailable("perplexity_ratio", why),),
    )


def ratio_interval(windows: Sequence[WindowScore]) -> Interval | None:
    """Return perplexity over reference perplexity with its 95 % interval.

    A percentile bootstrap over windows: both models saw the same windows, so a window that is hard
    for both counts for neither. None below ``LEAST_WINDOWS``.
    """
    if len(windows) < LEAST_WINDOWS:
        return None
    tokens = np.array([w.tokens for w in windows], np.float64)
    excess = np.array([w.nll - (w.reference_nll or 0.0) for w in windows])
    rng = np.random.default_rng(0)
    chances = np.full(len(windows), 1 / len(windows))
    drawn = rng.multinomial(len(windows), chances, size=RESAMPLES)
    low, high = np.quantile((drawn @ excess) / (drawn @ tokens), (0.025, 0.975))
    value = excess.sum() / tokens.sum()
    return Interval(*(math.exp(x) for x in (value, low, high)))
