"""Quantization schemes: what ``--scheme`` names, as data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgellm.errors import UsageError, did_you_mean

Method = Literal["float", "blocks", "rows"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the weights of a graph are stored and multiplied.

    Attributes:
        name: As the user gives it.
        method: ``float``: stored as float32 or float16, computed in float32. ``blocks``: integers
            in blocks, multiplied by MatMulNBits with activations quantized to int8 inside.
            ``rows``: a scale per output, multiplied by MatMulInteger with activations quantized
            per row by operators in front of it.
        bits: Bits of a weight.
        group_size: Weights in a block; used where it divides the row, else the largest smaller
            power of two that does (down to 16), else rows are filled up. None: the source decides,
            see :meth:`for_source`.
        symmetric: Zero points fixed in the middle: of the weights' blocks, or for ``rows``, whose
            weights always are, of the activations.
        head_bits: Bits of the head and of the embedding, which share one tensor where tied.
        head_group_size: Their group size; None as above.
        signed_activations: For ``rows``: int8 activations (ARM) or uint8 (x86); same numbers.
        keep_float: Stages, or prefixes of node names, whose matmuls are left in float.
        carried: The blocks are those of the GGUF file that the model came from.
    """

    name: str
    method: Method
    bits: int
    group_size: int | None = None
    symmetric: bool = True
    head_bits: int = 8
    head_group_size: int | None = None
    signed_activations: bool = False
    keep_float: tuple[str, ...] = ()
    carried: bool = False

    def __post_init__(self) -> None:
        """Refuse what no operator can do.

        Raises:
            UsageError: A value is not possible; the message lists those that are.
        """
        if self.head_bits not in (4, 8):
            raise UsageError(f"head bits {self.head_bits} are not possible: use 4 or 8")
        for size in (self.group_size, self.head_group_size):
            if size is not None and size not in GROUP_SIZES:
                known = ", ".join(map(str, GROUP_SIZES))
                raise UsageError(f"group size {size} is not possible: use one of {known}")

    @property
    def compensates(self) -> bool:
        """Whether errors are compensated on calibration text; 8 bits err too little to need it."""
        return self.method == "blocks" and self.bits == 4 and not self.carried

    def for_source(self, stored_as: Mapping[str, int]) -> "Scheme":
        """Return the scheme with the group sizes that were left open.

        Blocks of a GGUF file that are this scheme's own are carried over as they lie, exactly:
        that takes their group size, for 4 bits their fixed zero points, and no compensation of
        errors, of which there are none.

        Args:
            stored_as: How many matrices the source holds in which type, the most common first.
        """
        twin = next(iter(stored_as), "") == GGUF_TWINS.get(self.bits)
        carried = self.method == "blocks" and self.group_size is None and twin
        return dataclasses.replace(
            self,
            group_size=self.group_size or (GGUF_GROUP_SIZE if carried else GROUP_SIZE),
            head_group_size=self.head_group_size or (GGUF_GROUP_SIZE if carried else GROUP_SIZE),
            symmetric=self.symmetric or carried,
            carried=self.carried or carried,
        )


GROUP_SIZES = (16, 32, 64, 128, 256)
GROUP_SIZE = 128
GGUF_TWINS: Mapping[int, str] = {8: "Q8_0", 4: "Q4_0"}
GGUF_GROUP_SIZE = 32

SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("fp32", "float", 32),
        Scheme("fp16", "float", 16),
        Scheme("int8", "blocks", 8),
        Scheme("int4", "blocks", 4, symmetric=False),
        Scheme("int8-dynamic", "rows", 8, symmetric=False),
    )
}


def find_scheme(name: str) -> Scheme:
    """Return the scheme called ``name``.

    Raises:
        UsageError: There is none.
    """
    if name not in SCHEMES:
        raise UsageError(
            f"no scheme {name!r}{did_you_mean(name, SCHEMES)} (known: {', '.join(SCHEMES)})"
        )
    return SCHEMES[name]


def fitting_group(columns: int, group_size: int) -> int:
    """Return the largest group of at most ``group_size`` that divides a row of ``columns``.

    A group that does not divide the row fills every row up with zeros that are stored and
    multiplied; 576 columns in groups of 128 would be 640. Rows that no group divides are filled.
    """
    for size in sorted(GROUP_SIZES, reverse=True):
        if size <= group_size and columns % size == 0:
            return size
    return group_size
