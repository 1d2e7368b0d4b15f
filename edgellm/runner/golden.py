"""Golden tokens: what a bundle answers where it was made, to be found again on every board.

Another machine rounds differently, so logits are compared by one number per position, their
log-sum-exp in nats: it moves by no more than the largest difference of any logit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import EdgellmError
from edgellm.records.manifest import Golden, GoldenSet
from edgellm.records.progress import Progress, silent
from edgellm.runner.generate import LanguageModel

# SmolLM2-135M: 0.00003 nats of noise in fp32, 0.52 in int8, 0.55 in int4; the int4 logits of an
# emulated Cortex-A72 and A76 are up to 1.5 from those of x86, with equal tokens.
MARGIN = 3.0
LEAST_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Replay:
    """How one golden prompt came out.

    Attributes:
        tokens: Positions compared.
        equal: Positions whose best token is the golden one.
        first_difference: First position where it is not; None where all are equal.
        shortfall: How far the golden token lies below the best one at worst, in nats.
        deviation: Largest difference of a checksum, in nats.
    """

    tokens: int
    equal: int
    first_difference: int | None
    shortfall: float
    deviation: float

    def within(self, tolerance: float) -> bool:
        """Say whether all differences are at most ``tolerance`` nats, a near tie among them."""
        return self.deviation <= tolerance and self.shortfall <= tolerance


def checksum(logits: NDArray[np.float32]) -> float:
    """Return the log-sum-exp of logits ``(vocab,)``, in nats."""
    wide = logits.astype(np.float64)
    most = float(wide.max())
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
    while True:
        output.append(int(np.argmax(logits)))
        sums.append(checksum(logits))
        if not math.isfinite(sums[-1]):
            raise EdgellmError(
                "the model's logits are not finite numbers: its weights are damaged, "
                "or its numbers overflow (compare with --scheme fp32)"
            )
        if len(output) == tokens:
            return Golden(tuple(prompt_ids), tuple(output), tuple(sums))
        logits = session.step(output[-1])


def replay(session: LanguageModel, golden: Golden, *, token_by_token: bool = False) -> Replay:
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
    shortfall = deviation = 0.0
    for position, (token, expected) in enumerate(
        zip(golden.output_ids, golden.logit_checksums, strict=True)
    ):
        if position:
            logits = session.step(golden.output_ids[position - 1])
        if int(np.argmax(logits)) != token:
            differences.append(position)
        # NaN must not pass for small: max() would drop it.
        shortfall = _worse(shortfall, float(logits.max() - logits[token]))
        deviation = _worse(deviation, abs(checksum(logits) - expected))
    count = len(golden.output_ids)
    first = differences[0] if differences else None
    return Replay(count, count - len(differences), first, shortfall, deviation)


def tolerance(session: LanguageModel, prompts: Sequence[Golden]) -> float:
    """Return by how much another machine may differ from ``prompts``, in nats.

    That depends on the model: where activations are rounded to 8 bit, a last bit that falls
    otherwise is amplified by every layer. So it is measured, as what the same machine gives when
    it takes its other kernels, with a margin.
    """
    replays = [replay(session, prompt, token_by_token=True) for prompt in prompts]
    noise = max(max(found.deviation, found.shortfall) for found in replays)
    return max(LEAST_TOLERANCE, MARGIN * noise)


def replay_all(
    session: LanguageModel, golden: GoldenSet, progress: Progress = silent
) -> tuple[Replay, ...]:
    """Replay every prompt of a set."""
    replays = []
    for done, prompt in enumerate(golden.prompts):
        progress("replaying golden tokens", done, len(golden.prompts))
        replays.append(replay(session, prompt))
    return tuple(replays)


def describe(replayed: Replay, tolerance: float) -> str:
    """Return one line about a prompt."""
    verdict = "ok" if replayed.within(tolerance) else "DIFFERS"
    if replayed.first_difference is None:
        tokens = f"all {replayed.tokens} tokens equal"
    else:
        tokens = (
            f"{replayed.equal} of {replayed.tokens} tokens equal, the first difference at position "
            f"{replayed.first_difference}, {replayed.shortfall:.4f} nats below the best"
        )
    deviation = f"{replayed.deviation:.4f} nats (limit {tolerance:.2f})"
    return f"{verdict}: {tokens}; logits differ by {deviation}"


def _worse(so_far: float, value: float) -> float:
    return math.inf if math.isnan(value) else max(so_far, value)
