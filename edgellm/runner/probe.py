"""Every stage of the graph by itself, on values that the machine that made the bundle recorded.

Through all layers, rounding of the activations grows until it hides a fault as small as a row of a
layer's weights. So each stage is given what it was given there, and its output is held against
what it gave there: nothing is amplified on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgellm.records.manifest import ModelFacts
from edgellm.records.progress import Progress, silent
from edgellm.runner.cut import Part, cut
from edgellm.runner.session import Engine, open_session
from edgellm.runner.weights import WeightsFile

Floats = NDArray[np.float32]
Values = Mapping[str, Floats]
"""Values that cross from one stage to another, by name, ``(tokens, width)``."""

PAST, PRESENT = "past_key_values.", "present."
MOST_HALF = 6e4  # float16 ends at 65504


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a value is from what it should be, by token.

    Attributes:
        whole: Root mean square of the difference, as a share of that of the expected value.
        channel: The largest difference of any channel, as the same share.
    """

    whole: NDArray[np.float64]
    channel: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stages:
    """A graph of the fused route, one stage at a time: a session lives while its stage is run.

    Attributes:
        graph: ``model.onnx``.
        model: The model's facts.
        weights: Where the external data lies.
        engine: How onnxruntime runs each stage.
    """

    graph: bytes
    model: ModelFacts
    weights: WeightsFile | None
    engine: Engine

    def run(
        self, ids: Sequence[int], given: Values | None = None, progress: Progress = silent
    ) -> Iterator[tuple[str, Floats]]:
        """Yield the name of each value that a stage gives for ``ids`` and an empty cache.

        Args:
            ids: The tokens.
            given: What stages take that comes from others; where None, what those gave, rounded
                as it is stored.
            progress: Told about each stage.

        Raises:
            UnsupportedModel: The graph carries no stages.
        """
        known = dict(given or {})
        parts = cut(self.graph)
        for done, part in enumerate(parts):
            progress("checking stages", done, len(parts))
            session = open_session(part.model, self.engine, self.weights)
            wanted = [name for name in part.outputs if not name.startswith(PRESENT)]
            results = session.run(wanted, self._feed(part, ids, known))
            for name, result in zip(wanted, results, strict=True):
                value = result.reshape(-1, result.shape[-1])
                if given is None:
                    known[name] = stored(value).astype(np.float32)
                yield name, value

    def _feed(
        self, part: Part, ids: Sequence[int], known: Values
    ) -> dict[str, NDArray[np.generic]]:
        count, kv = len(ids), self.model.kv
        empty = np.zeros((1, kv.kv_heads, count, kv.head_dim), kv.dtype)
        fixed: dict[str, NDArray[np.generic]] = {
            "input_ids": np.array([ids], np.int64),
            "seqlens_k": np.array([count - 1], np.int32),
            "total_sequence_length": np.array(count, np.int32),
            "logits_from": np.array([count - 1], np.int64),
        }
        feed = {name: fixed[name] for name in part.inputs if name in fixed}
        feed |= {name: empty for name in part.inputs if name.startswith(PAST)}
        return feed | {name: known[name][None] for name in part.inputs if name not in feed}


def stored(value: Floats) -> NDArray[np.floating]:
    """Return a value as it is stored: in half the bytes where it fits."""
    return value.astype(np.float16) if np.abs(value).max(initial=0) < MOST_HALF else value


def distance(found: Floats, expected: Floats) -> Distance:
    """Return how far ``(tokens, width)`` is from what was expected."""
    wide = expected.astype(np.float64)
    size = np.sqrt(np.square(wide).mean(axis=-1))
    apart = np.abs(found - wide) / np.maximum(size, np.finfo(np.float32).tiny)[:, None]
    return Distance(np.sqrt(np.square(apart).mean(axis=-1)), apart.max(axis=-1))
