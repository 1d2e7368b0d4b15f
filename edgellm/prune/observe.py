"""Run a graph over calibration text and look at values inside it."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgellm.graph.stage_folder import save_graph
from edgellm.prune.anatomy import Array, entry, stream
from edgellm.records.manifest import MODEL_FILE, ModelFacts
from edgellm.records.progress import Progress, silent
from edgellm.runner.session import Session


def streams(
    model: ir.Model,
    facts: ModelFacts,
    sequences: Sequence[Sequence[int]],
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Iterator[list[Array]]:
    """Yield, per sequence, the residual stream before each layer and after the last.

    Args:
        model: The graph; it stays as it is.
        facts: Its facts.
        sequences: Token ids.
        threads: As in :class:`~edgellm.runner.session.Session`.
        progress: Told about the sequences.

    Yields:
        ``layers + 1`` arrays ``(tokens, hidden)``.
    """
    copy = model.clone()
    names = []
    for layer in range(facts.kv.layers + 1):
        norm = entry(copy.graph, layer)
        values = stream(norm)
        if len(values) == 2:
            # The norm adds them inside; not every norm gives the sum out.
            added = ir.node("Add", values, name=f"watched.{layer}")
            copy.graph.insert_before(norm, added)
            values = (added.outputs[0],)
            values[0].name = f"watched.{layer}"
        names.append(str(values[0].name))
    yield from _observe(copy, facts, names, sequences, threads, progress)


def values(
    model: ir.Model,
    facts: ModelFacts,
    names: Sequence[str],
    sequences: Sequence[Sequence[int]],
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Iterator[list[Array]]:
    """Yield, per sequence, the graph values ``names``, each ``(tokens, channels)``.

    The arguments are those of :func:`streams`.
    """
    yield from _observe(model.clone(), facts, names, sequences, threads, progress)


def _observe(
    model: ir.Model,
    facts: ModelFacts,
    names: Sequence[str],
    sequences: Sequence[Sequence[int]],
    threads: int,
    progress: Progress,
) -> Iterator[list[Array]]:
    made = {value.name: value for node in model.graph for value in node.outputs}
    for name in names:
        value = made[name]
        value.dtype = ir.DataType.FLOAT
        value.shape = ir.Shape(["batch", "sequence", None])
        model.graph.outputs.append(value)
    with tempfile.TemporaryDirectory(prefix="edgellm-calibration-") as scratch:
        save_graph(model, Path(scratch))
        context = max(map(len, sequences))
        session = Session(
            Path(scratch) / MODEL_FILE, facts, threads=threads, context=context, outputs=names
        )
        for done, ids in enumerate(sequences):
            progress("running calibration text", done, len(sequences))
            session.reset()
            session.forward(np.array([ids], np.int64))
            yield [session.fetched[name][0] for name in names]
