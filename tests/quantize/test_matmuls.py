"""Which products of a graph can be quantized, and what is said of the others."""

import numpy as np
import onnx_ir as ir

from edgellm.quantize.apply import quantize
from edgellm.quantize.matmuls import other_matmuls, weight_matmuls
from edgellm.quantize.pipeline import choose_scheme

GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
graphs (float[n, 32] x, float[32, 32] weight, float[32] bias)
    => (float[n, 32] y, float[n, 32] z, float[n, n] w)
{
    [gemm] y = Gemm (x, weight, bias)
    turned = Transpose <perm = [1, 0]> (weight)
    [behind_transpose] z = MatMul (x, turned)
    [scaled] s = Gemm <alpha = 2.0> (x, weight)
    across = Transpose <perm = [1, 0]> (s)
    [activations] w = MatMul (x, across)
}
"""


def graph() -> ir.Graph:
    parsed = ir.from_onnx_text(GRAPH).graph
    rng = np.random.default_rng(0)
    for value in (parsed.inputs.pop(2), parsed.inputs.pop(1)):
        shape = [32] if value.name == "bias" else [32, 32]
        value.const_value = ir.tensor(rng.normal(size=shape).astype(np.float32), name=value.name)
        parsed.initializers[str(value.name)] = value
    return parsed


def test_a_constant_side_is_found_behind_a_transpose_and_in_a_gemm() -> None:
    examined = graph()
    found = weight_matmuls(examined)

    weight = found[0].weight.const_value
    assert weight is not None
    assert [matmul.name for matmul in found] == ["gemm", "behind_transpose"]
    np.testing.assert_array_equal(found[0].rows(), weight.numpy().T)
    np.testing.assert_array_equal(found[1].rows(), weight.numpy())
    assert other_matmuls(examined) == {
        "scaled": "it scales or transposes what it multiplies",
        "activations": "both sides are activations",
    }


def test_a_gemm_keeps_its_bias_and_the_rest_is_listed() -> None:
    changed = graph()

    outcome = quantize(changed, choose_scheme("int8", {"group_size": 32}))

    gemm = next(node for node in changed if node.name == "gemm")
    assert gemm.op_type == "MatMulNBits"
    assert gemm.inputs[5] is changed.initializers["bias"]
    assert set(outcome.left_in_float) == {"scaled", "activations"}
