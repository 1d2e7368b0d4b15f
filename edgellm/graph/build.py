"""Write an ONNX graph node by node, each with its name and its stage."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.records import stages

MICROSOFT = "com.microsoft"
EDGELLM = "edgellm"
OPSET = 21
IR_VERSION = 10

Attribute = int | float | str | Sequence[int]


def domain(op_type: str) -> str:
    """Return the operator domain of ``op_type``."""
    return DOMAINS.get(op_type, "")


DOMAINS: Mapping[str, str] = {
    "FusedMatMul": MICROSOFT,
    "GatherBlockQuantized": MICROSOFT,
    "GroupQueryAttention": MICROSOFT,
    "MatMulBlocks": EDGELLM,
    "MatMulNBits": MICROSOFT,
    "MatMulRowGroups": EDGELLM,
    "MatMulRows": EDGELLM,
    "QuickGelu": MICROSOFT,
    "SkipSimplifiedLayerNormalization": MICROSOFT,
}


def initializer(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Return the value that stands for ``tensor`` in a graph."""
    return ir.val(name, tensor.dtype, ir.Shape(tensor.shape.numpy()), const_value=tensor)


class GraphBuilder:
    """Collects inputs, weights and nodes, and gives the model at the end.

    Names are hierarchical; :meth:`stage` opens a stage whose name is the prefix of what is made
    inside it, and which its nodes carry in their metadata.
    """

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, MICROSOFT: 1}, name=name)
        self.current_stage = ""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Give the nodes made in the block to stage ``name``."""
        self.current_stage = name
        yield
        self.current_stage = ""

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Add a graph input; a string in ``shape`` is a dimension that is free."""
        value = ir.val(name, dtype, ir.Shape(shape))
        self._graph.inputs.append(value)
        return value

    def weight(self, name: str, data: NDArray[np.generic] | ir.TensorProtocol) -> ir.Value:
        """Add an initializer under its full ``name``."""
        tensor = data if isinstance(data, ir.TensorProtocol) else ir.tensor(data, name=name)
        value = initializer(name, tensor)
        self._graph.initializers[name] = value
        return value

    def op(
        self,
        op_type: str,
        name: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        outputs: Sequence[str] = ("",),
    ) -> tuple[ir.Value, ...]:
        """Add a node of the current stage.

        Args:
            op_type: The operator.
            name: Its name within the stage.
            inputs: Its inputs; None for an optional one that is absent.
            attributes: Its attributes.
            outputs: A suffix per output; None-like outputs (absent) are written ``"-"``.

        Returns:
            Its outputs, in order, the absent ones included.
        """
        full = f"{self.current_stage}.{name}"
        values = [
            ir.Value(name="" if suffix == "-" else f"{full}{suffix and '.' + suffix}")
            for suffix in outputs
        ]
        node = ir.node(
            op_type,
            list(inputs),
            dict(attributes or {}),
            domain=domain(op_type),
            outputs=values,
            name=full,
            metadata_props={stages.KEY: self.current_stage},
        )
        self._graph.append(node)
        return tuple(values)

    def one(
        self,
        op_type: str,
        name: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        """Add a node with one output and return it."""
        return self.op(op_type, name, inputs, attributes)[0]

    def output(
        self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[int | str]
    ) -> None:
        """Make ``value`` a graph output called ``name``."""
        value.name = name
        value.dtype = dtype
        value.shape = ir.Shape(shape)
        self._graph.outputs.append(value)

    def model(self) -> ir.Model:
        """Return the finished model."""
        return ir.Model(self._graph, ir_version=IR_VERSION, producer_name="edgellm")
