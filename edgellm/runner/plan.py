"""What is asked of a bench run, and when it has measured enough."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgellm.errors import UsageError
from edgellm.measure.clock import Clock
from edgellm.runner import stats

LEAST_REPETITIONS = 5
MOST_REPETITIONS = 200
LOOK_EVERY = 5  # repetitions between two looks at the interval
SECOND_NS = 1_000_000_000

Pace = Callable[[Sequence[int]], bool]
"""Asked before each repetition, warm-ups included, whether to run it; given the decode time of each
one before it, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a bench run.

    Attributes:
        prompt_tokens: Length of the prompt, at least 1.
        output_tokens: Tokens to produce, at least 2, so that there is a decode step.
        repetitions: How many times the workload counts; None for as many as the precision needs,
            but 5 or more.
        warmup: How many times it runs before, kept apart.
        threads: Threads of the session; 0 for one per core that this process may use.
        context: Size of the key-value cache in tokens; what the workload needs where None.
        depths: Decode is measured also after so many tokens in the cache.
        precision: Half the width of the median's 95 % interval, as a share of it, that is enough.
        time_limit_s: Repetitions end after so long, precise or not.

    Raises:
        UsageError: A value is out of range.
    """

    prompt_tokens: int = 64
    output_tokens: int = 32
    repetitions: int | None = None
    warmup: int = 1
    threads: int = 0
    context: int | None = None
    depths: tuple[int, ...] = ()
    precision: float = 0.01
    time_limit_s: float = 10.0

    def __post_init__(self) -> None:
        _at_least(1, "prompt tokens", self.prompt_tokens)
        _at_least(2, "output tokens", self.output_tokens)
        _at_least(1, "repetitions", self.repetitions if self.repetitions is not None else 1)
        _at_least(0, "warm-up repetitions", self.warmup)
        _at_least(0, "threads", self.threads)
        _at_least(0, "depth", min(self.depths, default=0))
        if self.context is not None:
            _at_least(self.needed_context, "context", self.context)
        if not 0 < self.precision < 1:
            raise UsageError(f"precision must be between 0 and 100 %, not {self.precision:.2%}")
        if not 0 < self.time_limit_s < float("inf"):
            raise UsageError(f"time limit must be more than 0 seconds, not {self.time_limit_s:g}")

    @property
    def used_threads(self) -> int:
        """Threads of the session, resolved."""
        return self.threads or len(os.sched_getaffinity(0))

    @property
    def needed_context(self) -> int:
        """The smallest cache in tokens that holds the workload at every depth."""
        return max(self.prompt_tokens, *self.depths, 0) + self.output_tokens

    @property
    def used_context(self) -> int:
        """Size of the key-value cache in tokens, resolved."""
        return self.context or self.needed_context

    @property
    def least_repetitions(self) -> int:
        """Repetitions that count, at least."""
        return self.repetitions or LEAST_REPETITIONS


def _at_least(least: int, what: str, value: int) -> None:
    if value < least:
        raise UsageError(f"{what} must be at least {least}, not {value}")


def until_precise(plan: Plan, clock: Clock) -> Pace:
    """Return the pace of a run alone: as many as asked, else until the median is known.

    Args:
        plan: What is asked.
        clock: The time limit counts from now.
    """
    end = clock() + round(plan.time_limit_s * SECOND_NS)

    def more(decode_ns: Sequence[int]) -> bool:
        kept = decode_ns[plan.warmup :]
        if len(kept) < plan.least_repetitions:
            return True
        if plan.repetitions is not None or len(kept) >= MOST_REPETITIONS or clock() >= end:
            return False
        # Milliseconds of work that would disturb the caches before every repetition.
        return len(kept) % LOOK_EVERY > 0 or stats.half_width(kept) > plan.precision

    return more
