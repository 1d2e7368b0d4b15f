"""Golden tokens: what a bundle answers where it was made, to be found again on every board.

Another machine rounds differently, so its logits are not equal. How far they are is said as the KL
divergence of the golden probabilities from these, over 65 events at each position: the 64 tokens
that were most probable, and all others together. Taking events together never makes it larger
(Cover and Thomas, Elements of Information Theory, section 2.7), so it is a lower bound of that over
the whole vocabulary; on the default model it was 0.84 to 0.94 of it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import EdgellmError
from edgellm.records.golden import Golden, GoldenSet
from edgellm.records.parity import PromptParity
from edgellm.records.progress import Progress, silent
from edgellm.runner.generate import LanguageModel

TOP = 64
LEAST = 1e-30  # a probability below it counts as this


def log_sum_exp(logits: NDArray[np.float32]) -> float:
    """Return the log of the sum of exponentials of ``(vocab,)``, in nats; NaN for no numbers."""
    wide = logits.astype(np.float64)
    most = float(wide.max())
    if not math.isfinite(most):
        return math.nan
    return most + math.log(float(np.exp(wide - most).sum()))


def record(session: LanguageModel, prompt_ids: Sequence[int], tokens: int) -> Golden:
    """Continue a prompt greedily by ``tokens`` tokens; a stop token does not end it.

    Raises:
        EdgellmError: The logits are not numbers.
    """
    session.reset()
    logits = session.prefill(prompt_ids)
    output: list[int] = []
    sums: list[float] = []
    ids: list[tuple[int, ...]] = []
    tops: list[tuple[float, ...]] = []
    while True:
        output.append(int(np.argmax(logits)))
        sums.append(log_sum_exp(logits))
        if not math.isfinite(sums[-1]):
            raise EdgellmError(
                "the model's logits are not finite numbers: its weights are damaged, "
                "or its numbers overflow (compare with --scheme fp32)"
            )
        best = np.argsort(-logits, kind="stable")[:TOP]
        ids.append(tuple(best.tolist()))
        tops.append(tuple(logits[best].astype(np.float64).tolist()))
        if len(output) == tokens:
            return Golden(tuple(prompt_ids), tuple(output), tuple(sums), tuple(ids), tuple(tops))
        logits = session.step(output[-1])


def replay(session: LanguageModel, golden: Golden, *, token_by_token: bool = False) -> PromptParity:
    """Run a golden prompt again, along the golden tokens whatever this machine would choose.

    So one near tie that falls the other way does not make all that follows incomparable.

    Args:
        session: The model.
        golden: The prompt and what followed.
        token_by_token: Give the prompt as decode steps instead of at once, which takes other
            kernels and rounds otherwise.
    """
    session.reset()
    if token_by_token:
        for token in golden.prompt_ids:
            logits = session.step(token)
    else:
        logits = session.prefill(golden.prompt_ids)
    differences = []
    divergences: list[float | None] = []
    for position, token in enumerate(golden.output_ids):
        if position:
            logits = session.step(golden.output_ids[position - 1])
        if int(np.argmax(logits)) != token:
            differences.append(position)
        if golden.top_ids:
            divergences.append(divergence(golden, position, logits))
    count = len(golden.output_ids)
    first = differences[0] if differences else None
    return PromptParity(count, count - len(differences), first, tuple(divergences))


def divergence(golden: Golden, position: int, logits: NDArray[np.float32]) -> float | None:
    """Return the KL divergence of what was recorded from ``(vocab,)``, in nats.

    None where the logits are not finite numbers.
    """
    ours = log_sum_exp(logits)
    ids = list(golden.top_ids[position])
    if not math.isfinite(ours) or not np.isfinite(logits[ids]).all():
        return None
    expected = _events(np.array(golden.top_logits[position]) - golden.log_sum_exp[position])
    found = _events(logits[ids].astype(np.float64) - ours)
    kl = float((expected * np.log(expected / found)).sum())
    return max(kl, 0.0)  # below 0 by rounding alone


def _events(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities from their logarithms, and that of all other tokens at the end."""
    known = np.exp(logs)
    events: NDArray[np.float64] = np.maximum(np.append(known, 1 - known.sum()), LEAST)
    return events


def replay_all(
    session: LanguageModel,
    golden: GoldenSet,
    progress: Progress = silent,
    *,
    token_by_token: bool = False,
) -> tuple[PromptParity, ...]:
    """Replay every prompt of a set; see :func:`replay`."""
    replays = []
    for done, prompt in enumerate(golden.prompts):
        progress("replaying golden tokens", done, len(golden.prompts))
        replays.append(replay(session, prompt, token_by_token=token_by_token))
    return tuple(replays)
