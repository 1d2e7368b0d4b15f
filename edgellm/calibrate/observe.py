"""Run a graph over calibration text and look at values inside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.graph.residual import entry, stream
from edgellm.records.manifest import ModelFacts
from edgellm.records.progress import Progress, silent
from edgellm.runner.session import Engine, Session
from edgellm.runner.weights import WeightsFile

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Watch:
    """What to look at.

    Attributes:
        streams: Layers before which the residual stream is wanted, ``(tokens, hidden)`` each; the
            number of layers stands for the end of the last.
        values: Further values of the graph by name, ``(tokens, channels)`` each.
    """

    streams: Sequence[int] = ()
    values: Sequence[str] = ()


def observe(
    model: ir.Model,
    facts: ModelFacts,
    watch: Watch,
    sequences: Sequence[Sequence[int]],
    weights: Path,
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Run a graph over token sequences.

    Args:
        model: The graph; it stays as it is.
        facts: Its facts.
        watch: What to look at.
        sequences: Token ids.
        weights: The file in which the weights lie that are not in memory; none of it is copied.
        threads: As in :class:`~edgellm.runner.session.Session`.
        progress: Told about the sequences.

    Yields:
        Per sequence, the streams and the values of ``watch``; valid until the next.
    """
    copy = model.clone()
    wanted = [_stream(copy.graph, layer) for layer in watch.streams]
    made = {value.name: value for node in copy.graph for value in node.outputs}
    wanted += [made[name] for name in watch.values]
    for value in wanted:
        value.dtype = ir.DataType.FLOAT
        if value.shape is None:
            value.shape = ir.Shape(["batch", "sequence", None])
        copy.graph.outputs.append(value)
    names = [str(value.name) for value in wanted]
    session = Session(
        ir.to_proto(copy).SerializeToString(),
        facts,
        weights=WeightsFile(weights),
        engine=Engine(threads),
        context=max(map(len, sequences)),
        outputs=names,
    )
    for done, ids in enumerate(sequences):
        progress("running calibration text", done, len(sequences))
        session.reset()
        session.forward(np.array([ids], np.int64))
        found = [_tokens(session.fetched[name]) for name in names]
        yield found[: len(watch.streams)], found[len(watch.streams) :]


def _tokens(value: Array) -> Array:
    """Return a value of one sequence as ``(tokens, channels)``."""
    return value.reshape(-1, value.shape[-1])


def _stream(graph: ir.Graph, layer: int) -> ir.Value:
    """Return the residual stream before ``layer``, as a value of its own."""
    norm = entry(graph, layer)
    parts = stream(norm)
    if len(parts) == 1:
        return parts[0]
    # The norm adds them inside, and not every norm gives the sum out.
    added = ir.node("Add", parts, name=f"watched.{layer}")
    added.outputs[0].name = f"watched.{layer}"
    graph.insert_before(norm, added)
    return added.outputs[0]
