"""onnxruntime-genai on a folder that its own builder wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai


class Genai:
    """A builder folder; its configuration is kept but for threads, context and end token."""

    version = f"onnxruntime-genai {genai.__version__}"

    def __init__(self, model: str, threads: int, context: int) -> None:
        config = genai.Config(model)
        settings = json.loads((Path(model) / "genai_config.json").read_text(encoding="utf-8"))
        overlay = {
            "model": {
                # The rarest token: it must be one of the vocabulary, and no text should end early.
                "eos_token_id": settings["model"]["vocab_size"] - 1,
                "decoder": {"session_options": {"intra_op_num_threads": threads}},
            }
        }
        config.overlay(json.dumps(overlay))
        self._model = genai.Model(config)
        self._context = context

    def generate(self, prompt: list[int]) -> Iterator[int]:
        """Yield greedy tokens; see ``worker.Engine``."""
        generator = self._generator()
        generator.append_tokens(np.array(prompt, dtype=np.int32))
        while True:
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    def log_likelihoods(self, window: list[int]) -> list[float]:
        """Return ln p of each token after the first; see ``worker.Engine``."""
        generator = self._generator()
        generator.append_tokens(np.array(window, dtype=np.int32))
        logits = np.asarray(generator.get_output("logits"), dtype=np.float64)[0]
        if len(logits) != len(window):
            raise RuntimeError(f"{len(logits)} rows of logits for {len(window)} tokens")
        logits = logits[:-1] - logits[:-1].max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(window) - 1), window[1:]]
        return [float(x) for x in chosen - np.log(np.exp(logits).sum(axis=1))]

    def _generator(self) -> genai.Generator:
        params = genai.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context, do_sample=False)
        return genai.Generator(self._model, params)


def open_engine(model: str, threads: int, context: int, variant: str) -> Genai:
    """Load ``model``; the only variant is ``default``. See ``worker.Engine``."""
    del variant
    return Genai(model, threads, context)
