import contextlib
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.errors import BundleInvalid, EdgellmError, UnsupportedModel
from edgellm.export.gguf_file import GgufFile

WEIGHTS = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "F16", "BF16", "F32"])
def test_tensors_come_back_as_gguf_dequantizes_them(write_gguf, kind):
    number = GGMLQuantizationType[kind]
    packed = gguf.quants.quantize(WEIGHTS, number)
    file = GgufFile(write_gguf({"w": (packed, number)}))

    assert file.tensors["w"].type == kind
    assert file.tensors["w"].shape == WEIGHTS.shape
    values = file.read("w")
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, gguf.quants.dequantize(packed, number))


def test_metadata_comes_back_as_it_was_written(write_gguf):
    given = {"a.text": "\u4f60\u597d", "a.flag": True, "a.number": 7, "a.list": [1, 2, 3]}
    file = GgufFile(write_gguf({}, given))

    assert {key: file.metadata[key] for key in given} == given


@pytest.mark.parametrize("missing_bytes", [1, 500, 2000])
def test_a_cut_off_file_is_named_with_what_to_do(write_gguf, missing_bytes):
    path = write_gguf({"w": WEIGHTS})
    path.write_bytes(path.read_bytes()[:-missing_bytes])

    with pytest.raises(BundleInvalid, match=r"tiny.gguf has .* but w reaches .* download it again"):
        GgufFile(path)


def test_a_file_that_ends_in_its_header_is_named(write_gguf):
    path = write_gguf({})
    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(BundleInvalid, match=r"tiny.gguf ends at byte 200, inside its header"):
        GgufFile(path)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "page.gguf"
    path.write_bytes(content)

    with pytest.raises(BundleInvalid, match=r"page.gguf is not a GGUF file"):
        GgufFile(path)


@given(where=st.integers(4, 7000), junk=st.binary(min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_damage_to_the_header_is_an_error_of_ours_or_harmless(whole_file, where, junk):
    path, content = whole_file
    path.write_bytes(content[:where] + junk + content[where + len(junk) :])

    with contextlib.suppress(EdgellmError):
        file = GgufFile(path)
        for name in file.tensors:
            file.read(name)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("gguf") / "damaged.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for number in range(60):
        writer.add_array(f"list.{number}", ["some", "words", "here"])
        writer.add_uint32(f"number.{number}", number)
    writer.add_tensor("w", WEIGHTS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, path.read_bytes()


def test_an_absurd_array_length_is_refused_at_once(tmp_path):
    key = b"general.tags"
    path = tmp_path / "huge.gguf"
    header = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(key)) + key
    path.write_bytes(header + struct.pack("<IIQ", 9, 4, 1 << 60))

    with pytest.raises(BundleInvalid, match=r"huge.gguf ends at byte"):
        GgufFile(path)


def test_values_that_are_not_numbers_are_damage(write_gguf):
    file = GgufFile(write_gguf({"w": np.full((2, 4), np.nan, np.float32)}))

    with pytest.raises(BundleInvalid, match=r"values that are not numbers in w"):
        file.read("w")


def test_a_tensor_type_that_is_not_handled_is_named(write_gguf):
    path = write_gguf({"w": (np.zeros((2, 4), np.int32), GGMLQuantizationType.I32)})

    with pytest.raises(UnsupportedModel, match=r"stores w as I32"):
        GgufFile(path)


def test_one_part_of_several_is_refused_with_the_way_out(write_gguf):
    with pytest.raises(UnsupportedModel, match=r"one of 3 parts; join them"):
        GgufFile(write_gguf({}, {"split.count": 3}))


@pytest.mark.parametrize(("form", "said"), [("<I", "version 1"), (">I", "big-endian")])
def test_other_versions_and_byte_orders_are_named(tmp_path, form, said):
    path = tmp_path / "old.gguf"
    version = 1 if form == "<I" else 3
    path.write_bytes(b"GGUF" + struct.pack(form, version) + bytes(16))

    with pytest.raises(UnsupportedModel, match=said):
        GgufFile(path)
