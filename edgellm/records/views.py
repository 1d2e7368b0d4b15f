"""Two further looks into the model's time: the graph cut into stages, and onnxruntime's profile."""

from dataclasses import dataclass
from typing import Literal

from edgellm.records.samples import StageSamples, Unavailable

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class StageWork:
    """What a stage of the graph must move and compute, counted from the graph.

    Attributes:
        stage: Such as ``layers.3.attention``.
        weight_bytes: Weights that are read in full at every call, however many tokens it takes.
        row_bytes: Rows of tables read for each token.
        macs: Multiply-accumulates for each token that goes through it.
        kv_token_bytes: Keys and values: written for each token, read for each token in the cache.
        context_macs: Multiply-accumulates for each token and each token in the cache.
        window_tokens: Attention looks back this far at most; None for no limit.
    """

    stage: str
    weight_bytes: int = 0
    row_bytes: int = 0
    macs: int = 0
    kv_token_bytes: int = 0
    context_macs: int = 0
    window_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class StagedPhase:
    """Calls of the model, stage by stage: a prefill, or decode steps at some depth.

    Attributes:
        phase: What kind of call.
        context_tokens: Tokens in the cache before the first call.
        calls: Calls of one repetition: the chunks of a prefill, or the decode steps.
        chunk_tokens: Most tokens of a call.
        stages: In the order of the graph; ``tokens`` are of all calls of a repetition.
        cuts: What the cut at each stage costs: a part that does nothing, which takes and gives
            what the stage does, called and timed as it is. As much is in the stage's time.
        whole_ns: The uncut graph on the same tokens, in turn with the cut one; empty where memory
            did not allow both.
    """

    phase: Phase
    context_tokens: int
    calls: int
    chunk_tokens: int
    stages: tuple[StageSamples, ...]
    cuts: tuple[StageSamples, ...]
    whole_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StagedView:
    """The graph cut at its stage boundaries, each part a session of its own.

    Attributes:
        phases: Prefill, then decode at each depth.
        max_abs_difference: Largest difference between a logit of the cut and of the whole graph;
            None where memory did not allow both.
    """

    phases: tuple[StagedPhase, ...]
    max_abs_difference: float | None


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """All calls of one operator in one stage, summed over the profiled calls of the model."""

    stage: str
    operator: str
    calls: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class ProfiledPhase:
    """onnxruntime's profile of one kind of call.

    Attributes:
        phase: What kind of call.
        context_tokens: Tokens in the cache before it.
        tokens: Tokens that it takes.
        calls: Calls of the model that were profiled.
        operators: In the order of their first call.
        profiled_ns: Time of each call while it was profiled, with what profiling costs.
    """

    phase: Phase
    context_tokens: int
    tokens: int
    calls: int
    operators: tuple[OperatorTime, ...]
    profiled_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Views:
    """What was looked at beside the whole; a view that could not be taken is a reason."""

    staged: StagedView | None = None
    profiled: tuple[ProfiledPhase, ...] = ()
    missing: tuple[Unavailable, ...] = ()
