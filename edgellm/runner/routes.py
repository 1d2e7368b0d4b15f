"""How the two kinds of graph take tokens and keep their key-value cache."""

import math
import mmap
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgellm.records.manifest import KVLayout, ModelFacts

Ids = NDArray[np.int64]
Logits = NDArray[np.float32]


class Route(Protocol):
    """Runs a graph over new tokens, given how many are in its cache."""

    def run(self, ids: Ids, length: int, first: int) -> list[NDArray[np.float32]]:
        """Return the logits ``(batch, n - first, vocab)``, then the extra outputs.

        What is returned is valid until the next call.
        """


class FusedRoute:
    """GroupQueryAttention over one buffer per layer that is past and present at once.

    A decode step changes numbers inside arrays that were bound once and runs: nothing is
    allocated, and Python touches four integers. Pages of the buffers exist only once a token was
    written to them, so a large context costs nothing until it is used.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        model: ModelFacts,
        context: int,
        batch: int,
        outputs: Sequence[str],
    ) -> None:
        self._session = session
        self._outputs = outputs
        self._cache = cache_values(model.kv, context, batch)
        self._seqlens = np.zeros(batch, np.int32)
        self._total = np.zeros((), np.int32)
        self._first = np.zeros(1, np.int64)
        self._step_ids = np.zeros((batch, 1), np.int64)
        self._step_logits = np.zeros((batch, 1, model.vocab_size), np.float32)
        self._step = self._bind(self._step_ids, self._step_logits)

    def _bind(self, ids: Ids, logits: Logits | None) -> ort.IOBinding:
        binding = self._session.io_binding()
        arrays = {
            "input_ids": ids,
            "seqlens_k": self._seqlens,
            "total_sequence_length": self._total,
            "logits_from": self._first,
        }
        for name, array in arrays.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
        # Outputs come back in the order in which they were bound: logits first.
        if logits is None:
            binding.bind_output("logits", "cpu")
        else:
            binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(logits))
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        for name, value in self._cache.items():
            binding.bind_ortvalue_output(f"present.{name}", value)
        return binding

    def run(self, ids: Ids, length: int, first: int) -> list[NDArray[np.float32]]:
        """See :class:`Route`."""
        total = length + ids.shape[1]
        self._seqlens[:] = total - 1
        self._total[...] = total
        self._first[0] = first
        if ids.shape[1] == 1 and not self._outputs:
            self._step_ids[:] = ids
            self._session.run_with_iobinding(self._step)
            return [self._step_logits]
        binding = self._bind(np.ascontiguousarray(ids), None)
        self._session.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()[: 1 + len(self._outputs)]]


def cache_values(kv: KVLayout, context: int, batch: int) -> dict[str, ort.OrtValue]:
    """Return the buffers of the cache by name: ``0.key``, ``0.value``, ``1.key``, ..."""
    names = [f"{i}.{part}" for i in range(kv.layers) for part in ("key", "value")]
    return {
        name: ort.OrtValue.ortvalue_from_numpy(buffer)
        for name, buffer in zip(names, _cache_buffers(kv, context, batch), strict=True)
    }


def _cache_buffers(kv: KVLayout, context: int, batch: int) -> NDArray[np.generic]:
    """Return ``(2 * layers, batch, kv_heads, context, head_dim)`` of memory that is not there yet.

    Huge pages are declined: each head's keys begin a page of their own, so the first token of a
    context of 8,192 would bring the whole cache into memory (377 MB for SmolLM2-135M).
    """
    shape = (2 * kv.layers, batch, kv.kv_heads, context, kv.head_dim)
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(kv.dtype).itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, kv.dtype).reshape(shape)


class StandardRoute:
    """optimum's graph: every call returns a longer cache, which is copied. The slow path."""

    def __init__(
        self,
        session: ort.InferenceSession,
        model: ModelFacts,
        batch: int,
        outputs: Sequence[str],
    ) -> None:
        self._session = session
        kv = model.kv
        names = [f"{i}.{part}" for i in range(kv.layers) for part in ("key", "value")]
        self._past = [f"past_key_values.{name}" for name in names]
        self._wanted = ["logits", *outputs, *(f"present.{name}" for name in names)]
        self._inputs = {value.name for value in session.get_inputs()}
        empty = np.zeros((batch, kv.kv_heads, 0, kv.head_dim), kv.dtype)
        self._cache: list[NDArray[np.float32]] = [empty] * len(names)

    def run(self, ids: Ids, length: int, first: int) -> list[NDArray[np.float32]]:
        """See :class:`Route`."""
        batch, count = ids.shape
        positions = np.arange(length, length + count, dtype=np.int64)
        feed: dict[str, NDArray[np.generic]] = {
            "input_ids": ids,
            "attention_mask": np.ones((batch, length + count), np.int64),
            "position_ids": np.broadcast_to(positions, (batch, count)),
        }
        feed = {name: array for name, array in feed.items() if name in self._inputs}
        past = (cached[:, :, :length] for cached in self._cache)
        feed.update(zip(self._past, past, strict=True))
        results = self._session.run(self._wanted, feed)
        extra = len(results) - len(self._past)
        self._cache = results[extra:]
        return [results[0][:, first:], *results[1:extra]]
