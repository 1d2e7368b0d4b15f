"""Hold an exported graph against PyTorch: logits at several shapes, and greedy tokens.

A graph that is right at one shape can be wrong at another (a mask that only fits the first call, a
cache that only grows from empty), so the shapes differ in batch, sequence and past.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import BundleInvalid, ParityExceeded
from edgellm.export.weights import Weights
from edgellm.records.manifest import MODEL_FILE, ModelFacts
from edgellm.records.progress import Progress, silent
from edgellm.runner.session import Engine, Session

# (batch, sequence, past). onnxruntime takes a batch of one where several tokens meet a past.
SHAPES = ((2, 8, 0), (1, 5, 11), (2, 1, 24))
GREEDY_TOKENS = 16
# float32 sums in another order; what a wrong rule does is a thousand times larger.
RELATIVE_TOLERANCE = 1e-4

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Expected:
    """What PyTorch answers: tokens in, the number of them that are past, logits of the others."""

    ids: NDArray[np.int64]
    past: int
    logits: Logits


@dataclass(frozen=True, slots=True)
class Reference:
    """PyTorch's logits at every shape, and its greedy continuation of a prompt."""

    shapes: tuple[Expected, ...]
    prompt: tuple[int, ...]
    greedy: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a graph is from PyTorch.

    Attributes:
        shapes: The (batch, sequence, past) that were compared.
        max_abs: Largest difference of a logit.
        tolerance: What was allowed: a share of the largest logit.
        greedy_equal: Greedy tokens that agree before the first that differs.
        greedy_total: Greedy tokens compared.
    """

    shapes: tuple[tuple[int, ...], ...]
    max_abs: float
    tolerance: float
    greedy_equal: int
    greedy_total: int


def torch_reference(
    config: Mapping[str, Any], weights: Weights, *, progress: Progress = silent
) -> Reference:
    """Run the model in PyTorch, in float32.

    Args:
        config: Its Hugging Face configuration.
        weights: Its weights; all of them are in memory until this returns.
        progress: Told about the steps.
    """
    import torch

    steps = len(SHAPES) + GREEDY_TOKENS
    progress("loading the PyTorch reference", 0, steps)
    model = _torch_model(config, weights)
    done = itertools.count()

    def told() -> None:
        progress("running the PyTorch reference", next(done), steps)

    rng = np.random.default_rng(0)
    vocab = config["vocab_size"]
    with torch.inference_mode():
        shapes = tuple(_expected(model, rng, vocab, shape, told) for shape in SHAPES)
        prompt = rng.integers(0, vocab, 8)
        greedy = _greedy(model, prompt, told)
    return Reference(shapes, tuple(map(int, prompt)), greedy)


def _torch_model(config: Mapping[str, Any], weights: Weights) -> Any:
    """Build the model around the weights; what it would initialise is never touched."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_utils import no_init_weights

    settings = {k: v for k, v in config.items() if k not in ("torch_dtype", "dtype")}
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**settings), attn_implementation="eager"
        )
    state = {
        name: torch.from_numpy(np.require(weights.read(name), requirements=["C", "W"]))
        for name in weights.names()
    }
    try:
        missing = model.load_state_dict(state, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise BundleInvalid(f"the weights do not fit the configuration: {detail}") from error
    model.tie_weights()
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    if set(missing) - tied:
        raise ParityExceeded(
            f"PyTorch's model needs {min(missing)!r}, which the weights lack: "
            "no reference can be computed"
        )
    return model.float().eval()


def _expected(
    model: Any,
    rng: np.random.Generator,
    vocab: int,
    shape: tuple[int, int, int],
    told: Callable[[], None],
) -> Expected:
    import torch

    told()
    batch, sequence, past = shape
    ids = rng.integers(0, vocab, (batch, past + sequence))
    tokens = torch.from_numpy(ids)
    cache = model(tokens[:, :past], use_cache=True).past_key_values if past else None
    logits = model(tokens[:, past:], past_key_values=cache, use_cache=True).logits
    return Expected(ids, past, logits.float().numpy())


def _greedy(model: Any, prompt: NDArray[np.int64], told: Callable[[], None]) -> tuple[int, ...]:
    import torch

    tokens = torch.from_numpy(prompt)[None]
    cache, found = None, []
    for _ in range(GREEDY_TOKENS):
        told()
        result = model(tokens, past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        tokens = result.logits[:, -1:].argmax(-1)
        found.append(int(tokens))
    return tuple(found)


def measure_parity(
    folder: Path, model: ModelFacts, reference: Reference, *, threads: int = 0
) -> Parity:
    """Run the graph in ``folder`` over what the reference ran.

    Returns:
        The differences, whether or not they are within the tolerance.
    """
    worst = top = 0.0
    for expected in reference.shapes:
        batch, count = expected.ids.shape
        session = Session(
            folder / MODEL_FILE, model, engine=Engine(threads), context=count, batch=batch
        )
        if expected.past:
            session.forward(expected.ids[:, : expected.past])
        logits = session.forward(expected.ids[:, expected.past :], every_position=True)
        worst = max(worst, float(np.abs(logits - expected.logits).max()))
        top = max(top, float(np.abs(expected.logits).max()))
    return Parity(
        shapes=tuple((*e.ids[:, e.past :].shape, e.past) for e in reference.shapes),
        max_abs=worst,
        tolerance=RELATIVE_TOLERANCE * top,
        greedy_equal=_equal_greedy(folder, model, reference, threads),
        greedy_total=len(reference.greedy),
    )


def _equal_greedy(folder: Path, model: ModelFacts, reference: Reference, threads: int) -> int:
    context = len(reference.prompt) + len(reference.greedy)
    session = Session(folder / MODEL_FILE, model, engine=Engine(threads), context=context)
    logits = session.prefill(reference.prompt)
    for equal, token in enumerate(reference.greedy):
        if int(logits.argmax()) != token:
            return equal
        logits = session.step(token)
    return len(reference.greedy)


def require(parity: Parity, name: str) -> None:
    """Refuse a graph that is not the model.

    Raises:
        ParityExceeded: The difference is above the tolerance, or not a number.
    """
    if not parity.max_abs <= parity.tolerance:
        raise ParityExceeded(
            f"the exported graph of {name} differs from PyTorch by {parity.max_abs:.2g} in a "
            f"logit, {parity.tolerance:.2g} is allowed: it is not the same model; nothing was kept"
        )
