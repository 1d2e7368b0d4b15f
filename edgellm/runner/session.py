"""A model that runs: an onnxruntime session and its key-value cache."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Engine:
    """How onnxruntime runs a graph.

    Attributes:
        threads: Threads; 0 for one per available core.
        shared: Take threads from one pool of the process, and memory from one arena, which all
            such sessions share: then the threads of one do not wait for work while another runs,
            and what one leaves in the caches serves the next.
        profile: Beginning of the name of the profile to write; None for none.
        kernels: A library of operators, see :func:`edgellm.runner.kernels.library`.
    """

    threads: int = 0
    shared: bool = False
    profile: Path | None = None
    kernels: str | None = None


class Session:
    """Runs one model over a growing sequence of tokens.

    Args:
        graph: ``model.onnx``, with its external data beside it, or its bytes.
        model: The model's facts.
        engine: How onnxruntime runs it.
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
        engine: Engine | None = None,
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
        session = open_session(graph, engine or Engine(), weights)
        _check_facts(session, model)
        if isinstance(graph, Path):
            weights = WeightsFile(graph.with_name(WEIGHTS_FILE))
        if weights is not None:
            give_back(weights.path)
        self._session = session
        self._route: Route
        if model.route == "fused":
            self._route = FusedRoute(session, model, self.context, batch, self._outputs)
        else:
            self._route = StandardRoute(session, model, batch, self._outputs)

    def reset(self, length: int = 0) -> None:
        """Forget all but the first ``length`` tokens."""
        self.length = min(length, self.length)

    def end_profiling(self) -> Path:
        """End the profile that the engine asked for; return its file."""
        return Path(self._session.end_profiling())

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


def open_session(
    graph: Path | bytes, engine: Engine, weights: WeightsFile | None = None
) -> ort.InferenceSession:
    """Open a graph with the options that every session of the runner has.

    Args:
        graph: ``model.onnx``, or its bytes.
        engine: How to run it.
        weights: Where the external data of bytes lies.

    Raises:
        BundleInvalid: onnxruntime cannot open it.
        UnsupportedModel: It lacks an operator.
        UsageError: The process has a shared pool of another size.
    """
    options = ort.SessionOptions()
    if engine.shared:
        _share(engine.threads)
        options.add_session_config_entry("session.use_env_allocators", "1")
    if _pool_threads:
        _check_pool(engine.threads)
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = engine.threads
        options.inter_op_num_threads = 1
    if engine.profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(engine.profile)
    options.log_severity_level = 4  # what fails is raised, in one sentence
    try:
        if engine.kernels:
            options.register_custom_ops_library(engine.kernels)
        if weights and isinstance(graph, bytes):
            graph = attach(graph, weights, options)
        return ort.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            options,
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:  # its kinds are not public
        raise _readable(error, graph) from error


# onnxruntime makes its shared arena and pool once in a process, and with a pool opens no session
# that has threads of its own. One thread is the caller's, and needs no pool.
_arenas: list[ort.OrtMemoryInfo] = []
_pool_threads: list[int] = []


def _share(threads: int) -> None:
    if not _arenas:
        kind, use = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
        _arenas.append(ort.OrtMemoryInfo("Cpu", kind, 0, use))
        ort.create_and_register_allocator(_arenas[0], None)
    if threads != 1 and not _pool_threads:
        ort.set_global_thread_pool_sizes(threads, 1)
        _pool_threads.append(threads)


def _check_pool(threads: int) -> None:
    if threads not in (0, *_pool_threads):
        raise UsageError(
            f"this process shares {_pool_threads[0]} threads among its sessions, so none can have "
            f"{threads}: measure in a process of its own"
        )


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
