"""What a stage of the graph moves and computes in some calls, from its :class:`StageWork`.

It is the traffic that the stage asks for, and caches may serve part of it. Left out: activations
and norms, which are small and stay in the caches.
"""

from edgellm.records.views import StageWork


def moved_bytes(
    work: StageWork, tokens: int, context_tokens: int, *, chunk: int | None = None
) -> int:
    """Return the bytes that a stage reads and writes.

    Weights are read once in each call, a row of each table for each token; keys and values are
    written for each token, and those of all tokens so far are read once in each call, because a
    kernel holds them against all tokens of the call at once.

    Args:
        work: Of the stage.
        tokens: Tokens of all calls together.
        context_tokens: Tokens in the cache before the first call.
        chunk: Most tokens of a call; all in one where None.
    """
    size = chunk or tokens
    ends = [min(start + size, tokens) for start in range(0, tokens, size)]
    cached = sum(_seen(work, context_tokens + end) for end in ends)
    kept = work.kv_token_bytes * (tokens + cached)
    return work.weight_bytes * len(ends) + work.row_bytes * tokens + kept


def operations(work: StageWork, tokens: int, context_tokens: int) -> int:
    """Return the operations of a stage; a multiply-accumulate is two.

    Attention is causal: each token meets those before it and itself.
    """
    met = sum(_seen(work, context_tokens + token + 1) for token in range(tokens))
    return 2 * (work.macs * tokens + work.context_macs * met)


def _seen(work: StageWork, tokens: int) -> int:
    """Return of how many tokens attention looks at the keys."""
    return tokens if work.window_tokens is None else min(tokens, work.window_tokens)
