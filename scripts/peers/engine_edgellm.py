"""edgellm's own runner on a bundle, as ``edgellm-run`` opens it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgellm import __version__
from edgellm.runner.load import open_bundle


class Edgellm:
    """A bundle; the files are not digested, since the peers check none either."""

    version = f"edgellm {__version__}"

    def __init__(self, model: str, threads: int, context: int) -> None:
        bundle = open_bundle(Path(model), check=False)
        self._session = bundle.session(threads=threads, context=context)

    def generate(self, prompt: list[int]) -> Iterator[int]:
        """Yield greedy tokens; see ``worker.Engine``."""
        self._session.reset()
        logits = self._session.prefill(prompt)
        while True:
            token = int(logits.argmax())
            yield token
            logits = self._session.step(token)

    def log_likelihoods(self, window: list[int]) -> list[float]:
        """Return ln p of each token after the first; see ``worker.Engine``."""
        self._session.reset()
        ids = np.array([window], np.int64)
        rows = self._session.forward(ids, every_position=True)[0, :-1].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        chosen = rows[np.arange(len(rows)), window[1:]]
        return [float(x) for x in chosen - np.log(np.exp(rows).sum(axis=1))]


def open_engine(model: str, threads: int, context: int, variant: str) -> Edgellm:
    """Open the bundle ``model``; the only variant is ``default``. See ``worker.Engine``."""
    del variant
    return Edgellm(model, threads, context)
