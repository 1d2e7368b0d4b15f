"""Chooses the next token from logits.

The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
"""

import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import EdgellmError, UsageError

FIRST_LOOK = 256  # a nucleus is nearly always inside these; a whole sort takes milliseconds


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; the default is greedy.

    Attributes:
        temperature: Divides the logits; 0 takes the most probable token and nothing else counts
            but the repetition penalty.
        top_k: Keep this many most probable tokens; 0 keeps all.
        top_p: Keep the fewest most probable tokens whose probabilities sum to at least this.
        min_p: Keep tokens at least this fraction as probable as the most probable.
        repetition_penalty: Divides positive logits, and multiplies negative ones, of every token
            in the prompt and the output so far (Keskar et al. 2019); 1 changes nothing.
        seed: Start of the random numbers; a new one each time where None.

    Raises:
        UsageError: A value out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.temperature < math.inf, "temperature", self.temperature, "0 or more")
        _require(self.top_k >= 0, "top-k", self.top_k, "0 (off) or more")
        _require(0 < self.top_p <= 1, "top-p", self.top_p, "above 0 and at most 1")
        _require(0 <= self.min_p <= 1, "min-p", self.min_p, "between 0 and 1")
        penalty = self.repetition_penalty
        _require(0 < penalty < math.inf, "repetition penalty", penalty, "above 0, such as 1.1")
        _require(self.seed is None or self.seed >= 0, "seed", self.seed, "0 or more")


def _require(good: bool, what: str, value: float | None, wanted: str) -> None:
    if not good:
        raise UsageError(f"{what} {value} is not possible: it must be {wanted}")


GREEDY = Sampling()


class Sampler:
    """Chooses tokens one after another.

    Args:
        sampling: How.
        seen: Tokens that the repetition penalty counts from the start: the prompt.

    Attributes:
        seed: The seed in use, so that a run can be repeated.
    """

    def __init__(self, sampling: Sampling, seen: Iterable[int] = ()) -> None:
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self._sampling = sampling
        self._random = np.random.default_rng(self.seed)
        self._seen = set(seen)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Return the next token for logits ``(vocab,)``, which are left as they are.

        Raises:
            EdgellmError: The logits are not numbers.
        """
        how = self._sampling
        if how.repetition_penalty != 1:
            logits = penalized(logits, self._seen, how.repetition_penalty)
        best = int(np.argmax(logits))  # of a row with NaN, the first NaN
        if not math.isfinite(logits[best]):
            raise EdgellmError(
                f"the model's logits hold {logits[best]}: its weights are damaged, "
                "or its numbers overflow (compare with --scheme fp32)"
            )
        token = best if how.temperature == 0 or how.top_k == 1 else self._draw(logits)
        self._seen.add(token)
        return token

    def _draw(self, logits: NDArray[np.float32]) -> int:
        tokens, probabilities = candidates(logits, self._sampling)
        sums = np.cumsum(probabilities)
        drawn = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(tokens[min(drawn, len(tokens) - 1)])


def penalized(
    logits: NDArray[np.float32], seen: Iterable[int], penalty: float
) -> NDArray[np.float32]:
    """Return a copy of ``logits`` ``(vocab,)`` with every token of ``seen`` made less likely."""
    changed = logits.copy()
    ids = np.fromiter(seen, np.int64)
    values = changed[ids]
    changed[ids] = np.where(values > 0, values / penalty, values * penalty)
    return changed


def candidates(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that may be drawn and their probabilities, which need not sum to 1."""
    tokens = np.arange(len(logits))
    if 0 < sampling.top_k < len(logits):
        tokens = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
    scaled = logits[tokens].astype(np.float64)
    scaled = (scaled - scaled.max()) / sampling.temperature
    probabilities = np.exp(scaled)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        kept = nucleus(probabilities, sampling.top_p)
        tokens, probabilities = tokens[kept], probabilities[kept]
    if sampling.min_p > 0:
        kept = np.flatnonzero(probabilities >= sampling.min_p * probabilities.max())
        tokens, probabilities = tokens[kept], probabilities[kept]
    return tokens, probabilities


def nucleus(probabilities: NDArray[np.float64], mass: float) -> NDArray[np.int64]:
    """Return the fewest positions whose probabilities sum to at least ``mass``, largest first."""
    top = np.arange(len(probabilities))
    if len(probabilities) > FIRST_LOOK:
        first = np.argpartition(probabilities, -FIRST_LOOK)[-FIRST_LOOK:]
        if probabilities[first].sum() >= mass:
            top = first
    order = top[np.argsort(-probabilities[top], kind="stable")]
    sums = np.cumsum(probabilities[order])
    return order[: int(np.searchsorted(sums, mass)) + 1]
