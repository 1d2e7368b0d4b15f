"""Write a decoder's graph from its weights: the fused route.

The graph is written, not traced. A trace of the PyTorch model gives 7,426 nodes for 30 layers and
fusing them afterwards depends on patterns that every release changes; here the operators that
onnxruntime runs fast are emitted directly, weights stream from the source's file to the new one,
and each node carries its stage. :mod:`edgellm.export.parity` holds the result against PyTorch at
every export, so a rule that is wrong does not get out.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel
from edgellm.export.architectures import Architecture, DecoderShape
from edgellm.export.rotary import rotary_tables
from edgellm.export.weights import Weights
from edgellm.graph.build import GraphBuilder
from edgellm.records import stages

END = np.iinfo(np.int64).max


def build_decoder(
    name: str, architecture: Architecture, shape: DecoderShape, weights: Weights
) -> ir.Model:
    """Return the graph; its weights are read when it is saved, one at a time.

    Args:
        name: The graph's name.
        architecture: The family's row.
        shape: The model's sizes.
        weights: Tensors by their Hugging Face name.

    Raises:
        UnsupportedModel: A weight is missing, or one is there that the family's row does not use.
    """
    return _DecoderWriter(name, architecture, shape, weights).write()


class _Reader:
    """Hands out weights and remembers which were used."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._names = set(weights.names())
        self._used: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._names:
            raise UnsupportedModel(
                f"the weights lack {name!r}, which this architecture needs: "
                "the file is incomplete or of another family"
            )
        self._used.add(name)
        return self._weights.shape(name)

    def tensor(
        self, target: str, names: Sequence[str], *, transposed: bool = False
    ) -> ir.LazyTensor:
        """Return the rows of ``names`` stacked, read only when the tensor is written."""
        shapes = [self.shape(n) for n in names]
        full = (sum(s[0] for s in shapes), *shapes[0][1:])

        def load() -> ir.TensorProtocol:
            data = _stack([self._weights.read(n) for n in names])
            return ir.tensor(np.ascontiguousarray(data.T) if transposed else data, name=target)

        return ir.LazyTensor(
            load,
            ir.DataType.FLOAT,
            ir.Shape(full[::-1] if transposed else full),
            name=target,
            cache=False,
        )

    def check_all_used(self) -> None:
        left = sorted(n for n in self._names - self._used if not n.endswith("rotary_emb.inv_freq"))
        if left:
            raise UnsupportedModel(
                f"the weights hold {left[0]!r}, which the fused route does not know "
                f"({len(left)} such): the result would differ from the model"
            )


def _stack(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _DecoderWriter:
    """One export: the builder, the weights, and what every layer reads."""

    def __init__(
        self, name: str, architecture: Architecture, shape: DecoderShape, weights: Weights
    ) -> None:
        self.build = GraphBuilder(name)
        self.read = _Reader(weights)
        self.row = architecture
        self.shape = shape
        self.tied = shape.tied or not self.read.has(architecture.head)

    def write(self) -> ir.Model:
        build, shape = self.build, self.shape
        ids = build.input("input_ids", ir.DataType.INT64, ["batch", "sequence"])
        self.seqlens = build.input("seqlens_k", ir.DataType.INT32, ["batch"])
        self.total = build.input("total_sequence_length", ir.DataType.INT32, [])
        first = build.input("logits_from", ir.DataType.INT64, [1])
        tables = rotary_tables(
            shape.head_dim, shape.max_context, shape.rope_theta, shape.rope_scaling
        )
        self.rotary = [
            build.weight(f"rotary.{part}", table)
            for part, table in zip(("cos", "sin"), tables, strict=True)
        ]
        presents: list[tuple[ir.Value, ir.Value]] = []
        embedding = build.weight(
            "embedding.weight", self.read.tensor("embedding.weight", [self.row.embedding])
        )
        with build.stage(stages.EMBEDDING):
            hidden = build.one("Gather", "gather", [embedding, ids], {"axis": 0})
        added: ir.Value | None = None
        for layer in range(shape.layers):
            hidden, added, present = self._layer(layer, hidden, added)
            presents.append(present)
        with build.stage(stages.FINAL_NORM):
            normed, _ = self._norm("norm", self.row.final_norm, hidden, added, keep_sum=False)
        logits = self._head(normed, first, embedding)
        build.output(logits, "logits", ir.DataType.FLOAT, ["batch", "wanted", shape.vocab])
        for layer, pair in enumerate(presents):
            for part, value in zip(("key", "value"), pair, strict=True):
                build.output(
                    value, f"present.{layer}.{part}", ir.DataType.FLOAT, self._kv_shape("total")
                )
        self.read.check_all_used()
        return build.model()

    def _kv_shape(self, tokens: str) -> list[int | str]:
        return ["batch", self.shape.kv_heads, tokens, self.shape.head_dim]

    def _layer(
        self, layer: int, hidden: ir.Value, added: ir.Value | None
    ) -> tuple[ir.Value, ir.Value, tuple[ir.Value, ir.Value]]:
        """Write one pre-norm block.

        ``added`` is the last block's result, which the next norm adds to the residual ``hidden``.
        """
        build, names = self.build, self.row.names
        at = f"layers.{layer}."
        source = self.row.layer.format(layer=layer)
        with build.stage(at + stages.ATTENTION_NORM):
            normed, hidden = self._norm(
                "norm", source + names.attention_norm + ".weight", hidden, added
            )
        with build.stage(at + stages.ATTENTION):
            added, present = self._attention(layer, source, normed)
        with build.stage(at + stages.FEED_FORWARD_NORM):
            normed, hidden = self._norm(
                "norm", source + names.feed_forward_norm + ".weight", hidden, added
            )
        with build.stage(at + stages.FEED_FORWARD):
            added = self._feed_forward(source, normed)
        return hidden, added, present

    def _norm(
        self,
        name: str,
        weight: str,
        hidden: ir.Value,
        added: ir.Value | None,
        *,
        keep_sum: bool = True,
    ) -> tuple[ir.Value, ir.Value]:
        """Return RMSNorm(hidden + added) and the sum; outputs that nobody reads are left out."""
        target = f"{self.build.current_stage}.{name}.weight"
        gamma = self.build.weight(target, self.read.tensor(target, [weight]))
        if added is None:
            attributes = {"epsilon": self.shape.norm_epsilon, "axis": -1, "stash_type": 1}
            normed = self.build.one(
                "SimplifiedLayerNormalization", name, [hidden, gamma], attributes
            )
            return normed, hidden
        outputs = ["", "-", "-", "sum"] if keep_sum else [""]
        values = self.build.op(
            "SkipSimplifiedLayerNormalization",
            name,
            [hidden, added, gamma],
            {"epsilon": self.shape.norm_epsilon},
            outputs,
        )
        return values[0], values[-1]

    def _linear(self, name: str, sources: Sequence[str], value: ir.Value) -> ir.Value:
        """Write ``value @ W.T + b`` for the projections ``sources``, as one matmul."""
        target = f"{self.build.current_stage}.{name}"
        weight = self.build.weight(
            f"{target}.weight",
            self.read.tensor(f"{target}.weight", [s + ".weight" for s in sources], transposed=True),
        )
        result = self.build.one("MatMul", name, [value, weight])
        biases = [s + ".bias" for s in sources]
        if not self.read.has(biases[0]):
            return result
        bias = self.build.weight(f"{target}.bias", self.read.tensor(f"{target}.bias", biases))
        return self.build.one("Add", f"{name}_bias", [result, bias])

    def _attention(
        self, layer: int, source: str, value: ir.Value
    ) -> tuple[ir.Value, tuple[ir.Value, ir.Value]]:
        build, names, shape = self.build, self.row.names, self.shape
        qkv = self._linear(
            "qkv", [source + n for n in (names.query, names.key, names.value)], value
        )
        past = [
            build.input(
                f"past_key_values.{layer}.{part}", ir.DataType.FLOAT, self._kv_shape("past")
            )
            for part in ("key", "value")
        ]
        heads = [qkv, None, None] if self.row.query_key_norm is None else self._normed(source, qkv)
        inputs = [*heads, *past, self.seqlens, self.total, *self.rotary]
        attributes: dict[str, int | float] = {
            "num_heads": shape.heads,
            "kv_num_heads": shape.kv_heads,
            "do_rotary": 1,
            "scale": shape.head_dim**-0.5,
        }
        if shape.window is not None:
            attributes["local_window_size"] = shape.window
        mixed, key, cached = build.op(
            "GroupQueryAttention", "attend", inputs, attributes, ["", "key", "value"]
        )
        return self._linear("output", [source + names.output], mixed), (key, cached)

    def _normed(self, source: str, qkv: ir.Value) -> list[ir.Value | None]:
        """Return queries, keys and values apart, with every query and key head RMS-normed."""
        build, shape = self.build, self.shape
        assert self.row.query_key_norm is not None
        counts = [shape.heads, shape.kv_heads, shape.kv_heads]
        parts = ["query", "key", "value"]
        widths = build.weight(
            f"{build.current_stage}.widths",
            np.array([n * shape.head_dim for n in counts], dtype=np.int64),
        )
        heads: list[ir.Value | None] = list(
            build.op("Split", "heads", [qkv, widths], {"axis": -1}, parts)
        )
        attributes = {"epsilon": shape.norm_epsilon, "axis": -1, "stash_type": 1}
        for i, weight in enumerate(self.row.query_key_norm):
            apart = self._reshape(f"{parts[i]}_apart", heads[i], shape.head_dim)
            target = f"{build.current_stage}.{parts[i]}_norm.weight"
            gamma = build.weight(target, self.read.tensor(target, [source + weight]))
            normed = build.one(
                "SimplifiedLayerNormalization", f"{parts[i]}_norm", [apart, gamma], attributes
            )
            heads[i] = self._reshape(f"{parts[i]}_joined", normed, counts[i] * shape.head_dim)
        return heads

    def _reshape(self, name: str, value: ir.Value | None, last: int) -> ir.Value:
        """Reshape to ``(batch, any, last)``."""
        target = self.build.weight(
            f"{self.build.current_stage}.{name}.shape", np.array([0, -1, last], dtype=np.int64)
        )
        return self.build.one("Reshape", name, [value, target])

    def _feed_forward(self, source: str, value: ir.Value) -> ir.Value:
        build, names = self.build, self.row.names
        gate_up = self._linear("gate_up", [source + names.gate, source + names.up], value)
        halves = {"axis": -1, "num_outputs": 2}
        gate, up = build.op("Split", "split", [gate_up], halves, ["gate", "up"])
        # SiLU is x * sigmoid(x): QuickGelu with alpha 1, in one pass over the memory.
        active = build.one("QuickGelu", "silu", [gate], {"alpha": 1.0})
        product = build.one("Mul", "gated", [active, up])
        return self._linear("down", [source + names.down], product)

    def _head(self, normed: ir.Value, first: ir.Value, embedding: ir.Value) -> ir.Value:
        build = self.build
        ends = build.weight("head.wanted.end", np.array([END], dtype=np.int64))
        axes = build.weight("head.wanted.axis", np.array([1], dtype=np.int64))
        with build.stage(stages.HEAD):
            wanted = build.one("Slice", "wanted", [normed, first, ends, axes])
            if self.tied:
                # One tensor in the file: the head reads the embedding transposed.
                return build.one("FusedMatMul", "logits", [wanted, embedding], {"transB": 1})
            head = build.weight(
                "head.weight", self.read.tensor("head.weight", [self.row.head], transposed=True)
            )
            return build.one("MatMul", "logits", [wanted, head])
