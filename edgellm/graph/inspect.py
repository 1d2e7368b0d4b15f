"""What a graph holds and what one decoded token costs: parameters, bytes, multiply-accumulates.

Counted per node and summed per stage. A weight that two nodes share (a tied head) is held once, by
the first of them, and read by both. Element-wise operators and norms count no MACs: they are less
than a hundredth of the work of any decoder that fits a board.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from edgellm.errors import BundleInvalid
from edgellm.records import stages
from edgellm.records.manifest import ModelFacts
from edgellm.records.views import StageWork

UNSTAGED = "graph"
"""Stage of every node in a graph of the standard route, where nodes carry none."""

MATMULS = frozenset({"MatMul", "FusedMatMul", "Gemm"})
ROWS = frozenset({"MatMulRows", "MatMulRowGroups"})
NBITS = frozenset({"MatMulNBits", "MatMulBlocks"})
LOOKUPS: Mapping[str, tuple[int, ...]] = {
    "Gather": (0,),
    "GatherBlockQuantized": (0, 2, 3),
    "GroupQueryAttention": (7, 8),
}
"""Inputs of which one token reads one row: embeddings, rotary tables."""
VIEWS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""onnxruntime applies these to constants when it loads the graph: at run time they read nothing."""
AUXILIARY = (".scales", ".scale", ".zero_points", ".zero_point")
"""Names of what belongs to a quantized weight: bytes, but not parameters."""
NUMBERS = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT4,
        ir.DataType.UINT4,
    }
)
"""Types of weights; wider integers are shapes and axes."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is held, and what one decoded token reads and computes."""

    parameters: int = 0
    weight_bytes: int = 0
    read_bytes: int = 0
    macs: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.parameters + other.parameters,
            self.weight_bytes + other.weight_bytes,
            self.read_bytes + other.read_bytes,
            self.macs + other.macs,
        )


@dataclass(frozen=True, slots=True)
class NodeWork:
    """One node; ``float_weight`` marks a matmul whose weight is not quantized."""

    name: str
    operator: str
    stage: str
    work: Work
    float_weight: bool = False


@dataclass(frozen=True, slots=True)
class GraphWork:
    """A graph's nodes, for a token decoded after ``context_tokens``.

    ``uncounted`` names operators whose MACs depend on shapes that the graph does not state.
    """

    context_tokens: int
    nodes: tuple[NodeWork, ...]
    uncounted: tuple[str, ...]

    @property
    def total(self) -> Work:
        """The sum over all nodes."""
        return sum((node.work for node in self.nodes), Work())

    @property
    def operators(self) -> dict[str, int]:
        """How many nodes there are of each operator, most frequent first."""
        return dict(Counter(node.operator for node in self.nodes).most_common())

    @property
    def float_matmuls(self) -> tuple[str, ...]:
        """Matmuls whose weight is in floating point."""
        return tuple(node.name for node in self.nodes if node.float_weight)

    def by(self, key: Callable[[str], str]) -> dict[str, Work]:
        """Sum by ``key`` of the stage (``stages.kind_of``, or itself), in graph order."""
        sums: dict[str, Work] = {}
        for node in self.nodes:
            group = key(node.stage)
            sums[group] = sums.get(group, Work()) + node.work
        return sums


def parse(data: bytes, name: str) -> ir.Model:
    """Read a graph whose weights lie elsewhere; enough to inspect it.

    Args:
        data: The content of ``model.onnx``.
        name: Where it comes from, for the message.

    Raises:
        BundleInvalid: It is not ONNX.
    """
    try:
        return ir.serde.deserialize_model(onnx.ModelProto.FromString(data))
    except Exception as error:  # protobuf's classes have no types to import
        raise BundleInvalid(f"{name} cannot be read as ONNX ({error}): it is damaged") from error


def inspect(model: ir.Model, facts: ModelFacts, context_tokens: int = 0) -> GraphWork:
    """Count the work of every node.

    Args:
        model: A graph of either route, of any weight type.
        facts: Its facts; attention needs the size of a head.
        context_tokens: Tokens in the cache before the token that is counted.
    """
    held: set[str] = set()
    nodes, uncounted = [], []
    for node in model.graph:
        macs = _macs(node, facts, context_tokens)
        if macs is None:
            uncounted.append(node.name or node.op_type)
        weights = [value for _, value in _weights(node)]
        new = [value for value in weights if str(value.name) not in held]
        held.update(str(value.name) for value in new)
        work = Work(
            sum(_parameters(node, value, facts) for value in new),
            sum(_bytes(value) for value in new),
            sum(_read_bytes(node)),
            macs or 0,
        )
        stage = stages.of(node) or UNSTAGED
        nodes.append(NodeWork(node.name or "", node.op_type, stage, work, _has_float_weight(node)))
    return GraphWork(context_tokens, tuple(nodes), tuple(uncounted))


def stage_work(model: ir.Model, facts: ModelFacts) -> tuple[StageWork, ...]:
    """Return what each stage must move and compute, whatever runs through it, in graph order.

    It travels in the bundle, since a board cannot read graphs; empty for a graph of the standard
    route, whose nodes carry no stages.
    """
    found: dict[str, StageWork] = {}
    for node in model.graph:
        stage = stages.of(node)
        if stage is None:
            return ()
        before = found.get(stage, StageWork(stage))
        whole, looked_up = _read_bytes(node)
        sums = dataclasses.replace(
            before,
            weight_bytes=before.weight_bytes + whole,
            row_bytes=before.row_bytes + looked_up,
        )
        if node.op_type == "GroupQueryAttention":
            window = node.attributes.get_int("local_window_size", -1)
            found[stage] = dataclasses.replace(
                sums,
                kv_token_bytes=facts.kv.bytes(1) // facts.kv.layers,
                context_macs=2 * _integer(node, "num_heads") * facts.kv.head_dim,
                window_tokens=window if window is not None and window > 0 else None,
            )
        else:
            found[stage] = dataclasses.replace(sums, macs=sums.macs + (_macs(node, facts, 0) or 0))
    return tuple(found.values())


def _weights(node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
    for index, value in enumerate(node.inputs):
        if value is not None and value.const_value is not None and value.is_initializer():
            yield index, value


def _source(value: ir.Value | None) -> ir.Value | None:
    """Return the initializer behind ``value`` and the views of it, if there is one."""
    while value is not None and value.const_value is None:
        producer = value.producer()
        if producer is None or producer.op_type not in VIEWS:
            return None
        value = producer.inputs[0]
    return value


def _shape(value: ir.Value) -> tuple[int, ...]:
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def _bytes(value: ir.Value) -> int:
    assert value.const_value is not None
    return value.const_value.nbytes


def _parameters(node: ir.Node, value: ir.Value, facts: ModelFacts) -> int:
    """Return the parameters in a weight; packed and padded ones are counted by their meaning."""
    tensor = value.const_value
    assert tensor is not None
    table = node.op_type == "GroupQueryAttention" and value in node.inputs[7:9]
    auxiliary = str(value.name).endswith(AUXILIARY)
    if table or auxiliary or tensor.dtype not in NUMBERS or tensor.size <= 1:
        return 0
    if node.op_type in NBITS and value is node.inputs[1]:
        return _integer(node, "N") * _integer(node, "K")
    if node.op_type == "GatherBlockQuantized":
        return _shape(value)[0] * facts.hidden_size
    return tensor.size


def _integer(node: ir.Node, attribute: str) -> int:
    value = node.attributes.get_int(attribute)
    assert value is not None, f"{node.name} lacks {attribute}"
    return value


def _read_bytes(node: ir.Node) -> tuple[int, int]:
    """Return the bytes of weights that a call reads whole, and those that a token looks up."""
    if node.op_type in VIEWS:
        return 0, 0
    rows = LOOKUPS.get(node.op_type, ())
    whole = looked_up = 0
    for index, value in enumerate(node.inputs):
        source = _source(value)
        if source is None:
            continue
        if index in rows:
            looked_up += _bytes(source) // _shape(source)[0]
        else:
            whole += _bytes(source)
    return whole, looked_up


def _macs(node: ir.Node, facts: ModelFacts, context_tokens: int) -> int | None:
    """Return the MACs of one token, or None where the graph does not determine them."""
    if node.op_type == "GroupQueryAttention":
        # Scores and weighted values, each over the cache and the token itself.
        width = _integer(node, "num_heads") * facts.kv.head_dim
        return 2 * width * _window(node, context_tokens + 1)
    if node.op_type in NBITS:
        return _integer(node, "N") * _integer(node, "K")
    if node.op_type in MATMULS | ROWS:
        sources = [_source(value) for value in node.inputs[:2]]
        sizes = [s.const_value.size for s in sources if s is not None and s.const_value is not None]
        return sizes[0] if sizes else None
    return 0


def _window(node: ir.Node, tokens: int) -> int:
    window = node.attributes.get_int("local_window_size", -1)
    return tokens if window is None or window <= 0 else min(tokens, window)


def _has_float_weight(node: ir.Node) -> bool:
    return node.op_type in MATMULS and any(_source(value) for value in node.inputs[:2])
