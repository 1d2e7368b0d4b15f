"""Integer operators give the same bytes on every kind of core as here, by whatever instructions."""

import functools

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.graph.stage_folder import finish_stage, open_stage, save_graph
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.records.manifest import MODEL_FILE

pytestmark = pytest.mark.emulation

TOKENS, INPUTS, OUTPUTS = 5, 1536, 576  # the down projection of SmolLM2-135M
MODELS = {
    "integers": f"""
        <ir_version: 10, opset_import: ["": 21]>
        integers (uint8[n, {INPUTS}] x, uint8 zero, int8[{INPUTS}, {OUTPUTS}] weight)
            => (int32[n, {OUTPUTS}] y)
        {{ y = MatMulInteger (x, weight, zero) }}
    """,
    "dynamic": f"""
        <ir_version: 10, opset_import: ["": 21]>
        dynamic (float[n, {INPUTS}] x, int8[{INPUTS}, {OUTPUTS}] weight)
            => (uint8[n, {INPUTS}] q, float scale, uint8 zero, int32[n, {OUTPUTS}] y)
        {{
            q, scale, zero = DynamicQuantizeLinear (x)
            y = MatMulInteger (q, weight, zero)
        }}
    """,
}
ROWS = f"""
    <ir_version: 10, opset_import: ["": 21]>
    rows (float[1, n, {INPUTS}] x, float[{INPUTS}, {OUTPUTS}] weight) => (float[1, n, {OUTPUTS}] y)
    {{ [down] y = MatMul (x, weight) }}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_stage):
    """Write each model and its inputs; give the paths of the models."""
    rng = np.random.default_rng(4)
    place = tmp_path_factory.mktemp("operators")
    x = rng.standard_normal((TOKENS, INPUTS), np.float32)
    x[2] *= 40  # rows of unlike ranges, and one of none
    x[3] = 0
    inputs = {
        "integers": {
            "x": rng.integers(0, 256, (TOKENS, INPUTS), np.uint8),
            "zero": np.uint8(117),
            "weight": rng.integers(-127, 128, (INPUTS, OUTPUTS), np.int8),
        },
        "dynamic": {"x": x, "weight": rng.integers(-127, 128, (INPUTS, OUTPUTS), np.int8)},
        "rows": {"x": x[None]},
    }
    paths = {"rows": quantized_rows(place, tiny_stage, rng) / MODEL_FILE}
    for name, text in MODELS.items():
        paths[name] = place / f"{name}.onnx"
        ir.save(ir.from_onnx_text(text), paths[name])
    for name, values in inputs.items():
        np.savez(paths[name].with_suffix(".npz"), **values)
    return paths


def quantized_rows(place, tiny_stage, rng):
    """Quantize one product by the package's own method; give its stage folder."""
    model = ir.from_onnx_text(ROWS)
    value = model.graph.inputs.pop(1)
    weight = rng.standard_normal((INPUTS, OUTPUTS), np.float32)
    value.const_value = ir.tensor(weight, name=value.name)
    model.graph.initializers[value.name] = value
    folder = place / "stage"
    folder.mkdir()
    save_graph(model, folder)
    record = open_stage(tiny_stage).record
    finish_stage(folder, record.model, record.provenance)
    quantize_stage(folder, place / "rows", choose_scheme("int8-dynamic", {}))
    return place / "rows"


@pytest.fixture(scope="module")
def here(models, operators):
    return dict(zip(models, operators(None, *models.values()), strict=True))


@pytest.fixture(scope="module")
def there(models, operators):
    """Give what each model gives on a core."""

    @functools.cache
    def run(core):
        return dict(zip(models, operators(core, *models.values()), strict=True))

    return run


@pytest.mark.parametrize("method", ["integers", "dynamic", "rows"])
def test_integer_products_are_equal_to_the_bit(core, method, here, there):
    assert there(core)[method]["sha256"] == here[method]["sha256"], core


def test_pain_04_dot_products_are_executed_where_the_core_has_them_and_only_there(there, features):
    """A core that lacks an instruction ends a program that executes it, as QEMU does here."""
    old, new = (there(core)["integers"]["instructions"] for core in ("cortex-a72", "cortex-a76"))

    assert "asimddp" in features("cortex-a76") - features("cortex-a72")
    assert new < 0.7 * old
