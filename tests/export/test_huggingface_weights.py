import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from edgellm.errors import BundleInvalid, UnsupportedModel, UsageError
from edgellm.export.huggingface_weights import open_weights, weight_files

RNG = np.random.default_rng(3)


def save_sharded(folder, shards):
    where = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(tensors, folder / name)
        where |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def test_sharded_weights_come_back_in_float32_whatever_holds_them(tmp_path):
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
    given = {name: RNG.standard_normal((3, 5)).astype(kind) for name, kind in kinds.items()}
    names = list(given)
    save_sharded(tmp_path, [{n: given[n] for n in names[:2]}, {n: given[n] for n in names[2:]}])

    weights = open_weights(weight_files(tmp_path))

    assert set(weights.names()) == set(given)
    for name, values in given.items():
        assert weights.stored_as(name) == name
        assert weights.shape(name) == (3, 5)
        read = weights.read(name)
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, values.astype(np.float32))


def test_a_single_file_is_taken_before_pytorchs(tmp_path):
    save_file({"w": np.ones((2,), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").touch()

    assert weight_files(tmp_path) == (tmp_path / "model.safetensors",)


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path):
    with pytest.raises(UsageError, match=r"neither model.safetensors nor pytorch_model.bin"):
        weight_files(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    save_sharded(tmp_path, [{"a": np.ones(1, np.float32)}, {"b": np.ones(1, np.float32)}])
    (tmp_path / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(BundleInvalid, match=r"lacks model-00002-of-00002.safetensors"):
        weight_files(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 60, -8])
def test_a_cut_off_file_is_named(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.ones((4, 4), np.float32)}, path)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(BundleInvalid, match=r"model.safetensors is not a whole safetensors file"):
        open_weights((path,))


def test_weights_that_are_not_plain_floats_are_named(tmp_path):
    save_file({"w": np.ones((4, 4), np.int8)}, tmp_path / "model.safetensors")
    weights = open_weights(weight_files(tmp_path))

    with pytest.raises(UnsupportedModel, match=r"model.safetensors stores w as I8"):
        weights.read("w")


@pytest.mark.torch
def test_pytorchs_own_files_are_read_without_running_what_they_hold(tmp_path):
    import torch

    given = torch.randn(3, 5, dtype=torch.bfloat16)
    torch.save({"w": given.T}, tmp_path / "pytorch_model.bin")
    weights = open_weights(weight_files(tmp_path))

    assert weights.stored_as("w") == "BF16"
    assert weights.shape("w") == (5, 3)
    assert weights.read("w").flags.c_contiguous
    np.testing.assert_array_equal(weights.read("w"), given.float().numpy().T)


@pytest.mark.torch
@pytest.mark.parametrize("damage", ["cut off", "code"])
def test_a_pytorch_file_that_is_damaged_or_holds_code_is_named(tmp_path, damage):
    import torch

    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.ones(64)} if damage == "cut off" else {"w": print}, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(BundleInvalid, match=r"pytorch_model.bin cannot be read as weights"):
        open_weights((path,))
