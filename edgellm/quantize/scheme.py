"""Quantization schemes: what ``--scheme`` names, as data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgellm.errors import UsageError, did_you_mean
from edgellm.records import stages

Method = Literal["float", "blocks", "rows"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """How one matmul's weights are stored and multiplied.

    Attributes:
        method: ``float``: stored as float32 or float16, computed in float32. ``blocks``: integers
            in blocks, multiplied by MatMulNBits with activations quantized to int8 inside.
            ``rows``: a scale per output, multiplied by MatMulRows with activations quantized
            per row.
        bits: Bits of a weight.
    """

    method: Method
    bits: int

    def __str__(self) -> str:
        return f"{self.method} {self.bits}"


FLOAT = Kernel("float", 32)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the weights of a graph are stored and multiplied.

    Attributes:
        name: As the user gives it.
        method: What every matmul takes that ``layers`` does not name; see :class:`Kernel`.
        bits: Its bits.
        group_size: Weights in a block; used where it divides the row, else the largest smaller
            power of two that does (down to 16), else rows are filled up. None: the source decides,
            see :meth:`for_source`.
        symmetric: Zero points of blocks fixed in the middle, as they always are in blocks of the
            head, in those of other bits than ``bits``, and in rows.
        head_bits: Bits of head and embedding where they are in blocks.
        head_group_size: Their group size; None as above.
        layers: What takes another kernel, by stage (``layers.0.attention``), kind of stage
            (``attention``) or beginning of a node's name, with or without its layer
            (``feed_forward.down``); the longest key that fits wins. The embedding takes what the
            head takes, and shares it where tied, unless named itself.
        target: Id of the target that ``layers`` were chosen for; None where nobody chose.
        carried: The blocks are those of the GGUF file that the model came from.
    """

    name: str
    method: Method
    bits: int
    group_size: int | None = None
    symmetric: bool = True
    head_bits: int = 8
    head_group_size: int | None = None
    layers: Mapping[str, Kernel] = field(default_factory=dict)
    target: str | None = None
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
        kernels = (Kernel(self.method, self.bits), *self.layers.values())
        return Kernel("blocks", 4) in kernels and not self.carried

    def kernel(self, stage: str, name: str = "") -> Kernel:
        """Return what a matmul takes, or the embedding.

        Args:
            stage: Its stage; empty in a graph of the standard route.
            name: Its node.
        """
        named = self.named(stage, name)
        if named is not None:
            return self.layers[named]
        if stage == stages.EMBEDDING:
            return self.kernel(stages.HEAD, "")
        bits = self.head_bits if stage == stages.HEAD and self.method == "blocks" else self.bits
        return Kernel(self.method, bits)

    def named(self, stage: str, name: str) -> str | None:
        """Return the key of ``layers`` that decides for a matmul, or None where none fits."""
        parts, names = (stage, stages.kind_of(stage)), (name, unnumbered(name))
        fitting = [k for k in self.layers if k in parts or any(n.startswith(k) for n in names)]
        return max(fitting, key=len, default=None)

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
        Scheme("int8-dynamic", "rows", 8),
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


def unnumbered(name: str) -> str:
    """Return a node's name without its layer: ``layers.3.attention.qkv`` is ``attention.qkv``."""
    match = stages.NUMBERED.match(name)
    return name[match.end() + 1 :] if match else name


def fitting_group(columns: int, group_size: int) -> int:
    """Return the largest group of at most ``group_size`` that divides a row of ``columns``.

    A group that does not divide the row fills every row up with zeros that are stored and
    multiplied; 576 columns in groups of 128 would be 640. Rows that no group divides are filled.
    """
    for size in sorted(GROUP_SIZES, reverse=True):
        if size <= group_size and columns % size == 0:
            return size
    return group_size
