"""Weights of Hugging Face folders, read one at a time: safetensors and PyTorch's own files."""

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgellm.errors import BundleInvalid, UnsupportedModel, UsageError
from edgellm.export.huggingface import read_json
from edgellm.export.weights import Weights

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"  # the first found is read


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that hold the weights: one, or the shards that an index names.

    Raises:
        UsageError: There are none.
        BundleInvalid: The index names a shard that is missing.
    """
    for stem in (SAFETENSORS, TORCH):
        if (folder / stem).is_file():
            return (folder / stem,)
        index = folder / f"{stem}.index.json"
        if index.is_file():
            shards = sorted(set(read_json(index).get("weight_map", {}).values()))
            for shard in shards:
                if not (folder / shard).is_file():
                    raise BundleInvalid(
                        f"{folder} lacks {shard}, which its index names: download it again"
                    )
            return tuple(folder / shard for shard in shards)
    raise UsageError(f"{folder} has no weights: neither {SAFETENSORS} nor {TORCH}")


def open_weights(files: tuple[Path, ...]) -> Weights:
    """Open the files that :func:`weight_files` found.

    Raises:
        BundleInvalid: A file is damaged or cut off.
    """
    return TorchWeights(files) if files[0].suffix == ".bin" else SafetensorsWeights(files)


class SafetensorsWeights:
    """Tensors of safetensors files, read one at a time from the mapped files."""

    FLOATS = ("F64", "F32", "F16", "BF16")

    def __init__(self, files: tuple[Path, ...]) -> None:
        """Open the files.

        Raises:
            BundleInvalid: A file is damaged or cut off.
        """
        from safetensors import SafetensorError, safe_open

        self._where: dict[str, tuple[Path, Any]] = {}
        for path in files:
            try:
                file: Any = safe_open(path, "numpy")
            except (SafetensorError, OSError) as error:
                raise BundleInvalid(
                    f"{path} is not a whole safetensors file ({error}): download it again"
                ) from None
            self._where |= dict.fromkeys(file.keys(), (path, file))

    def names(self) -> Collection[str]:
        """Return the state dict's names."""
        return self._where.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(self._where[name][1].get_slice(name).get_shape())

    def stored_as(self, name: str) -> str:
        """Return the type that the file holds, such as ``BF16``."""
        return str(self._where[name][1].get_slice(name).get_dtype())

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32, C-contiguous.

        Raises:
            UnsupportedModel: The tensor does not hold plain floats.
        """
        path, file = self._where[name]
        if (kind := self.stored_as(name)) not in self.FLOATS:
            raise UnsupportedModel(
                f"{path.name} stores {name} as {kind}; give a model with weights in "
                f"{', '.join(self.FLOATS)}"
            )
        return np.ascontiguousarray(file.get_tensor(name), dtype=np.float32)


class TorchWeights:
    """Tensors of ``pytorch_model.bin`` files, mapped; nothing in them is executed."""

    NAMES: Mapping[str, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

    def __init__(self, files: tuple[Path, ...]) -> None:
        """Open the files.

        Raises:
            BundleInvalid: A file is damaged, cut off, or holds more than tensors.
        """
        import torch

        self._tensors: dict[str, Any] = {}
        for path in files:
            mapped = zipfile.is_zipfile(path)  # older files cannot be mapped
            try:
                self._tensors |= torch.load(
                    path, map_location="cpu", weights_only=True, mmap=mapped
                )
            except Exception as error:  # unpickling raises what it likes
                raise BundleInvalid(
                    f"{path} cannot be read as weights of PyTorch: it is damaged, cut off, or "
                    "holds code; download it again, or as safetensors"
                ) from error

    def names(self) -> Collection[str]:
        """Return the state dict's names."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(self._tensors[name].shape)

    def stored_as(self, name: str) -> str:
        """Return the type that the file holds, such as ``BF16``."""
        kind = str(self._tensors[name].dtype).removeprefix("torch.")
        return self.NAMES.get(kind, kind)

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32, C-contiguous."""
        tensor: npt.NDArray[np.float32] = self._tensors[name].float().numpy()
        return np.ascontiguousarray(tensor)
