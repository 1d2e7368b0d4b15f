"""Generates text from a prompt: one pass over the prompt, then one token at a time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgellm.errors import UsageError
from edgellm.runner.sampling import GREEDY, Sampler, Sampling
from edgellm.runner.text import Detokenizer, StopFilter

FinishReason = Literal["stop", "length", "context"]


class LanguageModel(Protocol):
    """What generation needs of a :class:`edgellm.runner.session.Session`."""

    length: int
    context: int

    def reset(self, length: int = 0) -> None:
        """Forget all but the first ``length`` tokens."""

    def prefill(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits ``(vocab,)`` after a prompt."""

    def step(self, token: int) -> NDArray[np.float32]:
        """Return the logits ``(vocab,)`` after one more token."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When generation ends.

    Attributes:
        stop_ids: Tokens that end it; none of them is part of the output.
        stop_strings: Texts that end it; none of them is part of the output.
        max_tokens: Most tokens to generate.

    Raises:
        UsageError: A value out of range.
    """

    stop_ids: tuple[int, ...]
    stop_strings: tuple[str, ...] = ()
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max tokens {self.max_tokens} is not possible: it must be 1 or more")
        if "" in self.stop_strings:
            raise UsageError("a stop string is empty: it would end every answer at once")


@dataclass(frozen=True, slots=True)
class Result:
    """What was generated.

    Attributes:
        text: The whole output.
        prompt_ids: Tokens of the prompt.
        output_ids: Tokens of the output, without the stop token.
        finish_reason: ``stop`` (a stop token or string), ``length`` (``max_tokens``) or
            ``context`` (the cache is full).
        seed: Seed of the random numbers.
        prefill_ns: Time of the pass over the prompt.
        decode_ns: Time from the first output token to the end.
    """

    text: str
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    finish_reason: FinishReason
    seed: int
    prefill_ns: int
    decode_ns: int


class Generation:
    """One answer: iterate over it for the text as it comes, then take :attr:`result`.

    Args:
        session: The model; it is reset first.
        tokenizer: The bundle's.
        prompt_ids: Tokens of the prompt.
        ending: When to end.
        sampling: How tokens are chosen.

    Raises:
        UsageError: The prompt is empty or longer than the context.
    """

    def __init__(
        self,
        session: LanguageModel,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int],
        ending: Ending,
        sampling: Sampling = GREEDY,
    ) -> None:
        if not prompt_ids:
            raise UsageError("the prompt has no tokens: give some text")
        if len(prompt_ids) > session.context:
            raise UsageError(
                f"the prompt has {len(prompt_ids)} tokens, the context holds {session.context}: "
                "shorten the prompt, or raise --context where the model allows it"
            )
        self._session = session
        self._tokenizer = tokenizer
        self._prompt_ids = tuple(prompt_ids)
        self._ending = ending
        self._sampler = Sampler(sampling, prompt_ids)
        self._output_ids: list[int] = []
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        """The whole answer, once the iteration has ended."""
        assert self._result is not None, "iterate to the end first"
        return self._result

    def __iter__(self) -> Iterator[str]:
        """Yield the text in pieces, each certain and none of them empty."""
        start_ns = time.perf_counter_ns()
        self._session.reset()
        logits = self._session.prefill(self._prompt_ids)
        prefilled_ns = time.perf_counter_ns()
        pieces = []
        detokenizer = Detokenizer(self._tokenizer)
        stops = StopFilter(self._ending.stop_strings)
        reason: FinishReason | None = None
        while reason is None:
            token = self._sampler.choose(logits)
            if token in self._ending.stop_ids:
                reason = "stop"
                break
            self._output_ids.append(token)
            piece = stops.add(detokenizer.add(token))
            reason = self._reason(stops)
            if piece:
                pieces.append(piece)
                yield piece
            if reason is None:
                logits = self._session.step(token)
        if not stops.hit and (rest := stops.add(detokenizer.end()) + stops.end()):
            pieces.append(rest)
            yield rest
        self._result = Result(
            text="".join(pieces),
            prompt_ids=self._prompt_ids,
            output_ids=tuple(self._output_ids),
            finish_reason=reason,
            seed=self._sampler.seed,
            prefill_ns=prefilled_ns - start_ns,
            decode_ns=time.perf_counter_ns() - prefilled_ns,
        )

    def _reason(self, stops: StopFilter) -> FinishReason | None:
        if stops.hit:
            return "stop"
        if len(self._output_ids) == self._ending.max_tokens:
            return "length"
        if self._session.length == self._session.context:
            return "context"
        return None
