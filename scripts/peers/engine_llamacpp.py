"""llama.cpp through the C interface that llama-cpp-python wraps; its sampler is not used."""

import ctypes
from collections.abc import Iterator
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

BATCH = 512  # llama.cpp's own default for the physical batch


class LlamaCpp:
    """A GGUF file in llama.cpp.

    ``variant`` is ``flash`` or ``plain``: with and without flash attention, since either may be
    the faster. Everything else is llama.cpp's default: mapped file, repacked weights, f16 cache.
    """

    version = f"llama-cpp-python {llama_cpp.__version__}"

    def __init__(self, model: str, threads: int, context: int, variant: str) -> None:
        llama_cpp.llama_backend_init()
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)  # kept: C holds the pointer
        llama_cpp.llama_log_set(self._quiet, None)
        self._model = llama_cpp.llama_model_load_from_file(
            model.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if variant == "flash"
            else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._size = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def generate(self, prompt: list[int]) -> Iterator[int]:
        """Yield greedy tokens; see ``worker.Engine``."""
        self._forget()
        ids = prompt
        while True:
            batch = (llama_cpp.llama_token * len(ids))(*ids)
            self._decode(llama_cpp.llama_batch_get_one(batch, len(ids)))
            token = int(self._logits(-1).argmax())
            yield token
            ids = [token]

    def log_likelihoods(self, window: list[int]) -> list[float]:
        """Return ln p of each token after the first; see ``worker.Engine``."""
        self._forget()
        found: list[float] = []
        batch = llama_cpp.llama_batch_init(len(window), 0, 1)
        batch.n_tokens = len(window)
        for i, token in enumerate(window):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        self._decode(batch)
        for i, token in enumerate(window[1:]):
            row = self._logits(i).astype(np.float64)
            row -= row.max()
            found.append(float(row[token] - np.log(np.exp(row).sum())))
        llama_cpp.llama_batch_free(batch)
        return found

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _decode(self, batch: Any) -> None:
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status}")

    def _logits(self, index: int) -> NDArray[np.float32]:
        pointer = llama_cpp.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self._size,)
        )


def open_engine(model: str, threads: int, context: int, variant: str) -> LlamaCpp:
    """Load ``model``; see ``worker.Engine``."""
    return LlamaCpp(model, threads, context, variant)


def tokenize(engine: LlamaCpp, text: str) -> list[int]:
    """Return the token ids of ``text`` by the file's own tokenizer, without special tokens."""
    raw = text.encode()
    ids = (llama_cpp.llama_token * (len(raw) + 8))()
    specials = (False, False)  # add none, read none
    count = llama_cpp.llama_tokenize(engine.vocab, raw, len(raw), ids, len(ids), *specials)
    return list(ids[:count])
