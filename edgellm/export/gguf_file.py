"""GGUF files as metadata and tensors, with every length checked against the file's size.

The ``gguf`` package's own reader checks no bounds: a damaged array length makes it loop over
nothing for hours, and a cut-off file opens well. Its block formats are used as they are.
"""

import functools
import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from edgellm.errors import BundleInvalid, UnsupportedModel

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 1 had other widths and has not been written since 2023
DEFAULT_ALIGNMENT_BYTES = 32
STRING, ARRAY = 8, 9
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of the file: ggml type, shape with rows first, and where its bytes lie."""

    type: str
    shape: tuple[int, ...]
    offset_bytes: int
    size_bytes: int


class _Cursor:
    """Reads little-endian values one after another and refuses to run over the end."""

    def __init__(self, data: mmap.mmap, fail: Callable[[str], NoReturn]) -> None:
        self.data = data
        self.fail = fail
        self.at = 0

    def claim(self, size: int) -> int:
        start = self.at
        if size > len(self.data) - start:
            self.fail(f"ends at byte {len(self.data)}, inside its header")
        self.at += size
        return start

    def scalars(self, code: str, count: int) -> tuple[Any, ...]:
        form = f"<{count}{code}"
        return struct.unpack_from(form, self.data, self.claim(struct.calcsize(f"<{code}") * count))

    def scalar(self, code: str) -> Any:
        return self.scalars(code, 1)[0]

    def string(self) -> str:
        size = self.scalar("Q")
        start = self.claim(size)
        try:
            return self.data[start : start + size].decode()
        except UnicodeDecodeError:
            self.fail(f"holds text that is not UTF-8 at byte {start}")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item, count = self.scalar("I"), self.scalar("Q")
            if item in SCALARS:
                return list(self.scalars(SCALARS[item], count))
            return [self.value(item) for _ in range(count)]
        if kind not in SCALARS:
            self.fail(f"has a value of unknown type {kind} before byte {self.at}")
        return self.scalar(SCALARS[kind])


class GgufFile:
    """An opened GGUF file.

    Attributes:
        path: The file.
        metadata: Key to value; arrays are lists.
        tensors: GGUF name to where and how the tensor is stored.
    """

    def __init__(self, path: Path) -> None:
        """Parse the header; weights stay on disk, mapped.

        Raises:
            BundleInvalid: Not a GGUF file, cut off, or damaged.
            UnsupportedModel: A version, part or tensor type that is not handled, by name.
        """
        self.path = path
        self._data = self._map()
        cursor = _Cursor(self._data, self._damaged)
        cursor.at = len(MAGIC)
        self._check_version(cursor.scalar("I"))
        tensor_count, value_count = cursor.scalars("Q", 2)
        self.metadata: Mapping[str, Any] = {
            cursor.string(): cursor.value(cursor.scalar("I")) for _ in range(value_count)
        }
        if (parts := self.integer("split.count", 1)) > 1:
            raise UnsupportedModel(
                f"{path.name} is one of {parts} parts; join them with llama-gguf-split --merge"
            )
        found = [self._tensor(cursor) for _ in range(tensor_count)]
        alignment = self.integer("general.alignment", DEFAULT_ALIGNMENT_BYTES) or 1
        data_start = -(-cursor.at // alignment) * alignment
        self.tensors: Mapping[str, StoredTensor] = {
            name: self._placed(name, tensor, data_start) for name, tensor in found
        }

    def integer(self, key: str, default: int) -> int:
        """Return a whole number of the metadata, or ``default`` where the key is missing.

        Raises:
            BundleInvalid: The value is of another type.
        """
        value = self.metadata.get(key, default)
        if not isinstance(value, int) or value < 0:
            self._damaged(f"gives {key} as {value!r}")
        return value

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32, C-contiguous, dequantized block by block.

        Raises:
            BundleInvalid: The tensor holds values that are not finite: the file is damaged.
        """
        tensor = self.tensors[name]
        kind = GGMLQuantizationType[tensor.type]
        raw = np.frombuffer(self._data, np.uint8, tensor.size_bytes, tensor.offset_bytes)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at below
            values = dequantize(raw.reshape(*tensor.shape[:-1], -1), kind)
        if not np.isfinite(values).all():
            self._damaged(f"holds values that are not numbers in {name}")
        return np.ascontiguousarray(values.reshape(tensor.shape), dtype=np.float32)

    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BundleInvalid(
                    f"{self.path.name} is not a GGUF file: it does not start with 'GGUF'; "
                    "download it again"
                )
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _damaged(self, what: str) -> NoReturn:
        raise BundleInvalid(f"{self.path.name} {what}: it is cut off or damaged, download it again")

    def _check_version(self, version: int) -> None:
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "big-endian" if swapped in VERSIONS else f"version {version}"
            raise UnsupportedModel(
                f"{self.path.name} is a {what} GGUF file; convert it to little-endian version 3"
            )

    def _tensor(self, cursor: _Cursor) -> tuple[str, StoredTensor]:
        name, dimensions = cursor.string(), cursor.scalar("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            self._damaged(f"gives {name!r} {dimensions} dimensions")
        shape = tuple(reversed(cursor.scalars("Q", dimensions)))
        number, offset = cursor.scalar("I"), cursor.scalar("Q")
        if number not in _readable_types():
            raise UnsupportedModel(
                f"{self.path.name} stores {name} as {_type_name(number)}, which is not handled; "
                "take a file in F16, Q8_0, Q4_K or another common type"
            )
        kind = GGMLQuantizationType(number)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            self._damaged(f"cuts the rows of {name} ({shape[-1]} wide) inside a {kind.name} block")
        return name, StoredTensor(kind.name, shape, offset, math.prod(shape) // block * block_bytes)

    def _placed(self, name: str, tensor: StoredTensor, data_start: int) -> StoredTensor:
        start = data_start + tensor.offset_bytes
        if start + tensor.size_bytes > len(self._data):
            self._damaged(
                f"has {len(self._data)} bytes, but {name} reaches to {start + tensor.size_bytes}"
            )
        return StoredTensor(tensor.type, tensor.shape, start, tensor.size_bytes)


def _type_name(number: int) -> str:
    known: dict[int, str] = {kind.value: kind.name for kind in GGMLQuantizationType}
    return known.get(number, f"unknown type {number}")


@functools.cache
def _readable_types() -> frozenset[int]:
    """Numbers of the types that ``gguf`` can turn into floats, found by asking it."""
    readable = set()
    for kind, (_, block_bytes) in GGML_QUANT_SIZES.items():
        try:
            dequantize(np.zeros((1, block_bytes), np.uint8), kind)
        except NotImplementedError:
            continue
        readable.add(kind.value)
    return frozenset(readable)
