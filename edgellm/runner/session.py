"""A model that runs: an onnxruntime session and its key-value cache."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgellm.errors import BundleInvalid, UnsupportedModel, UsageError
from edgellm.records.manifest import WEIGHTS_FILE, ModelFacts
from edgellm.runner.pages import give_back
from edgellm.runner.routes import FusedRoute, Ids, Logits, Route, StandardRoute
from edgellm.runner.weights import WeightsFile, attach

# Prompts go through in pieces: activations of a long prompt would be the peak of memory.
PREFILL_CHUNK_TOKENS = 128
# How onnxruntime names an operator that is unknown, or that has no kernel for its types.
LACKING = re.compile(
    r"No Op registered for (\S+)|(\S+?)\(-?\d+\) is not a registered function"
    r"|Could not find an implementation for (\S+?)\("
)


class Session:
    """Runs one model over a growing sequence of tokens.

    Args:
        graph: ``model.onnx``, with its external data beside it, or its bytes.
        model: The model's facts.
        threads: Threads of onnxruntime; 0 for one per available core.
        context: Capacity of the cache in tokens; the model's maximum where None.
        batch: Sequences that run side by side, of equal length. The fused route takes more than
            one only from an empty cache or token by token.
        outputs: Further graph values to fetch at every call, see :attr:`fetched`.
        weights: Where the external data of a graph given as bytes lies.

    Attributes:
        length: Tokens in the cache.
        context: Its capacity.
        fetched: The values of ``outputs`` at the last call; valid until the next.
    """

    def __init__(
        self,
        graph: Path | bytes,
        model: ModelFacts,
        *,
        threads: int = 0,
        context: int | None = None,
        batch: int = 1,
        outputs: Sequence[str] = (),
        weights: WeightsFile | None = None,
    ) -> None:
        self.model = model
        self.length = 0
        self.context = check_context(context, model)
        self.fetched: dict[str, NDArray[np.float32]] = {}
        self._outputs = tuple(outputs)
        session = _open(graph, threads, weights)
        _check_facts(session, model)
        if isinstance(graph, Path):
            weights = WeightsFile(graph.with_name(WEIGHTS_FILE))
        if weights is not None:
            give_back(weights.path)
        self._route: Route
        if model.route == "fused":
            self._route = FusedRoute(session, model, self.context, batch, self._outputs)
        else:
            self._route = StandardRoute(session, model, batch, self._outputs)

    def reset(self, length: int = 0) -> None:
        """Forget all but the first ``length`` tokens."""
        self.length = min(length, self.length)

    def forward(self, ids: Ids, *, every_position: bool = False) -> Logits:
        """Run ``ids`` ``(batch, n)`` after what is in the cache.

        Returns:
            Logits of the last position, ``(batch, 1, vocab)``, or of every one,
            ``(batch, n, vocab)``; valid until the next call.

        Raises:
            UsageError: The sequence would not fit the context.
            UnsupportedModel: An operator refuses what it is given.
        """
        count = ids.shape[1]
        if self.length + count > self.context:
            raise UsageError(
                f"{self.length + count} tokens do not fit the context of {self.context}; "
                "shorten the text or raise --context"
            )
        try:
            logits, *extra = self._route.run(ids, self.length, 0 if every_position else count - 1)
        except Exception as error:  # onnxruntime's kinds are not public
            raise UnsupportedModel(
                f"onnxruntime {ort.__version__} cannot run {self.model.name}: {error}"
            ) from error
        self.length += count
        self.fetched = dict(zip(self._outputs, extra, strict=True))
        return logits

    def prefill(self, ids: Sequence[int], chunk: int = PREFILL_CHUNK_TOKENS) -> Logits:
        """Run a prompt in chunks and return the logits of its last position, ``(vocab,)``."""
        array = np.asarray(ids, np.int64)[None]
        for start in range(0, array.shape[1], chunk):
            logits = self.forward(array[:, start : start + chunk])
        last: Logits = logits[0, -1]
        return last

    def step(self, token: int) -> Logits:
        """Run one token and return the logits after it, ``(vocab,)``."""
        last: Logits = self.forward(np.array([[token]], np.int64))[0, -1]
        return last


def check_context(context: int | None, model: ModelFacts) -> int:
    """Return the cache's capacity in tokens.

    Raises:
        UsageError: ``context`` is not positive or more than the model can do.
    """
    most = model.kv.max_context
    if context is not None and not 0 < context <= most:
        raise UsageError(
            f"context {context} is not possible: {model.name} takes 1 to {most} tokens"
        )
    return context or most


def _check_facts(session: ort.InferenceSession, model: ModelFacts) -> None:
    """Hold what a record says against the graph: buffers are made from the record's numbers."""
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    _, heads, _, width = inputs.get("past_key_values.0.key", [None] * 4)
    has = {
        "layers": sum(name.startswith("past_key_values.") for name in inputs) // 2,
        "key-value heads": heads,
        "values per head": width,
        "logits": outputs.get("logits", [None])[-1],
    }
    kv = model.kv
    said = (kv.layers, kv.kv_heads, kv.head_dim, model.vocab_size)
    for (what, found), wanted in zip(has.items(), said, strict=True):
        if isinstance(found, int) and found != wanted:  # a string where the graph leaves it open
            raise BundleInvalid(
                f"the graph of {model.name} has {found} {what}, its record says {wanted}: "
                "it is damaged, make it again"
            )
    if kv.max_context < 1:
        raise BundleInvalid(f"{model.name} has a context of {kv.max_context} tokens: it is damaged")


def _open(graph: Path | bytes, threads: int, weights: WeightsFile | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, in one sentence
    try:
        if weights and isinstance(graph, bytes):
            graph = attach(graph, weights, options)
        return ort.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            options,
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:  # its kinds are not public
        raise _readable(error, graph) from error


def _readable(error: Exception, graph: Path | bytes) -> Exception:
    what = "the model" if isinstance(graph, bytes) else str(graph)
    text = str(error)
    lacking = LACKING.search(text)
    if lacking:
        operator = lacking[lacking.lastindex or 0]
        return UnsupportedModel(
            f"onnxruntime {ort.__version__} lacks the operator {operator} of {what}: "
            "export the model again with this edgellm"
        )
    return BundleInvalid(f"onnxruntime {ort.__version__} cannot open {what}: {text}")
