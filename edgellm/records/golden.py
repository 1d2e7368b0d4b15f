"""What a bundle answers on the machine that made it, and how far others may be from that.

History of the format:
    golden 1: tokens, and one checksum of the logits at each position.
    golden 2: the largest logits of each position, tolerances by kind of arithmetic, and values at
        the boundaries of the graph's stages, which lie in a file of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

STAGES_FILE = "golden_stages.npz"
"""By name of a value that crosses a stage's boundary: what it was, and ``NAME noise``."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A prompt, its greedy continuation, and the logits at each position of that.

    Attributes:
        prompt_ids: The prompt.
        output_ids: What followed.
        log_sum_exp: Of all logits, in nats, by position.
        top_ids: The tokens with the largest logits, by position; empty in sets of schema 1.
        top_logits: Their logits. With the log-sum-exp they give those tokens' probabilities and
            that of all others together.
    """

    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    log_sum_exp: tuple[float, ...]
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_logits: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a machine may be from the golden values.

    Attributes:
        mean_kl: Mean KL divergence over all positions, in nats.
        max_kl: At one position.
        stage_noise: Difference of one stage, in multiples of its noise.
    """

    mean_kl: float
    max_kl: float
    stage_noise: float


def _upgrade_1(data: dict[str, Any]) -> dict[str, Any]:
    """Lift golden 1: checksums are log-sum-exps; the tolerance was for these, and is dropped."""
    data = {name: value for name, value in data.items() if name != "tolerance"}
    prompts = []
    for prompt in data["prompts"]:
        kept = dict(prompt)
        kept["log_sum_exp"] = kept.pop("logit_checksums")
        prompts.append(kept)
    return {**data, "prompts": prompts}


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """``golden.json``.

    Attributes:
        machine: What made it, in words.
        prompts: What it answered.
        isa: Its arithmetic, see :mod:`edgellm.measure.isa`.
        noise: KL divergence between its own kernels, by how they were made to differ: mean and
            maximum over all positions, in nats.
        limits: By arithmetic of the machine that replays it; what is not here is not judged.
        stage_ids: The tokens whose values at each stage are in ``golden_stages.npz``.
    """

    KIND: ClassVar[str] = "golden"
    SCHEMA: ClassVar[int] = 2
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _upgrade_1}

    machine: str
    prompts: tuple[Golden, ...]
    isa: str = ""
    noise: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    stage_ids: tuple[int, ...] = ()
