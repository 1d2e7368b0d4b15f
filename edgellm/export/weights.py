"""What an export reads weights from."""

from collections.abc import Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Weights(Protocol):
    """A model's tensors by their Hugging Face name; at most one is in memory at a time."""

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading its data."""

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as contiguous float32."""

    def stored_as(self, name: str) -> str:
        """Return the type that the file holds, by its format's name: ``BF16``, ``Q8_0``."""
