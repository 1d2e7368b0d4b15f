"""Block-wise integers for a matrix, in the layout of onnxruntime's MatMulNBits.

A block is ``group_size`` consecutive weights of one output row with one scale:
``weight = (q - zero_point) * scale``. The rules are those of GGUF's Q8_0 and Q4_0 where the block
is symmetric, so a tensor that came from such a file at the same group size is found again bit for
bit: its largest weight is ``127 * scale`` (Q8_0) or ``-8 * scale`` (Q4_0), and dividing gives the
scale exactly.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CACHED_WEIGHTS = 1 << 18  # weights worked on at once: a few float copies fit a core's cache
SMALLEST_SCALE = 1e-37  # its inverse is near the largest float32
# Shares of a block's range that 4 bits try, the full range first. A wider one moves the steps.
RANGE_SHARES = (1.0, 1.06, 1.03, 0.97, 0.94, 0.91, 0.88)

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A quantized matrix of ``rows`` x ``columns``.

    Attributes:
        data: ``(rows, blocks, group_size * bits / 8)``; two 4-bit values a byte, the first low.
        scales: ``(rows, blocks)``.
        zero_points: ``(rows, ceil(blocks * bits / 8))``, packed as ``data``; None where symmetric:
            then 128 or 8.
        bits: 8 or 4.
        group_size: Weights in a block; the last block of a row is filled up with zeros.
        columns: Weights in a row.
    """

    data: Bytes
    scales: Float
    zero_points: Bytes | None
    bits: int
    group_size: int
    columns: int

    def dequantize(self) -> Float:
        """Return the weights ``(rows, columns)`` that the blocks stand for."""
        rows, blocks = self.scales.shape
        values = _unpack(self.data, self.bits).astype(np.float32)
        if self.zero_points is None:
            zero: Float | float = float(1 << (self.bits - 1))
        else:
            zero = _unpack(self.zero_points, self.bits)[:, :blocks, None].astype(np.float32)
        weights: Float = ((values - zero) * self.scales[..., None]).reshape(rows, -1)
        return weights[:, : self.columns]


def quantize_blocks(weight: Float, *, bits: int, group_size: int, symmetric: bool) -> Blocks:
    """Quantize a matrix ``(rows, columns)``, every block on its own.

    Args:
        weight: The matrix; a row is one output of the layer.
        bits: 8 or 4.
        group_size: Weights in a block: a power of two, at least 16.
        symmetric: Zero points fixed in the middle; else chosen per block.
    """
    rows_at_once = max(1, CACHED_WEIGHTS // weight.shape[1])
    pieces = [weight[at : at + rows_at_once] for at in range(0, len(weight), rows_at_once)]
    with ThreadPoolExecutor() as pool:  # numpy lets other threads run while it computes
        done = list(pool.map(lambda rows: _quantize(rows, bits, group_size, symmetric), pieces))
    data, scales, zeros = zip(*done, strict=True)
    return Blocks(
        data=np.concatenate(data),
        scales=np.concatenate(scales),
        zero_points=None if symmetric else np.concatenate(zeros),
        bits=bits,
        group_size=group_size,
        columns=weight.shape[1],
    )


def _quantize(
    weight: Float, bits: int, group_size: int, symmetric: bool
) -> tuple[Bytes, Float, Bytes]:
    """Return packed data, scales and packed zero points (empty where symmetric) of some rows."""
    rows, columns = weight.shape
    padded = -columns % group_size
    blocks = np.pad(weight, ((0, 0), (0, padded))).reshape(rows, -1, group_size)
    grid = find_grid(blocks, bits, symmetric)
    data = grid.per_weight().nearest(blocks).astype(np.uint8)
    zero = np.empty((rows, 0), np.uint8) if symmetric else grid.zeros.astype(np.uint8)
    return pack(data, bits), grid.scales, pack(zero, bits)


@dataclass(frozen=True, slots=True)
class Grid:
    """Scales and zero points of blocks, which broadcast against their weights."""

    scales: Float
    zeros: Float
    inverse: Float
    top: int

    def per_weight(self) -> "Grid":
        """Return the grid for weights that have one more axis."""
        scales, zeros, inverse = (p[..., None] for p in (self.scales, self.zeros, self.inverse))
        return Grid(scales, zeros, inverse, self.top)

    def nearest(self, weights: Float) -> Float:
        """Return the integers nearest to ``weights``, as floats."""
        # Half rounds up, as GGUF's reference does.
        values: Float = np.floor(weights * self.inverse + (self.zeros + np.float32(0.5)))
        return np.clip(values, 0, self.top, out=values)

    def weights(self, values: Float) -> Float:
        """Return the weights that integers stand for."""
        return (values - self.zeros) * self.scales


def find_grid(blocks: Float, bits: int, symmetric: bool, stakes: Float | None = None) -> Grid:
    """Return the grid of each block.

    Args:
        blocks: ``(..., group_size)``.
        bits: 8 or 4.
        symmetric: Zero points fixed in the middle.
        stakes: What an error of each weight of a block counts, ``(group_size,)``; 1 where None.
    """
    if symmetric:
        scales = _symmetric(blocks, bits)
        zeros = np.full_like(scales, 1 << (bits - 1))
    else:
        scales, zeros = _asymmetric(blocks, bits, stakes)
    return Grid(scales, zeros, _inverse(scales), (1 << bits) - 1)


def _inverse(scales: Float) -> Float:
    """Return 1 / scales, and 0 where that would overflow: those blocks become zeros."""
    large = np.abs(scales) > SMALLEST_SCALE
    return np.divide(1.0, scales, out=np.zeros_like(scales), where=large)


def _symmetric(blocks: Float, bits: int) -> Float:
    """Scales of blocks whose zero point is the middle.

    With 8 bits the range is -127..127. With 4 bits it is -8..7, and the weight of the largest
    magnitude takes the -8, whatever its sign: half a step more of range for free.
    """
    if bits == 8:
        scales: Float = np.abs(blocks).max(axis=-1) / np.float32(127)
        return scales
    at = np.abs(blocks).argmax(axis=-1)[..., None]
    extreme = np.take_along_axis(blocks, at, axis=-1)[..., 0]
    return extreme / np.float32(-(1 << (bits - 1)))


def _asymmetric(blocks: Float, bits: int, stakes: Float | None) -> tuple[Float, Float]:
    """Scales and zero points of blocks, each of the range that errs least.

    A range a little narrower than the block's cuts its outliers and sees all others finer, one a
    little wider may have its steps nearer to the weights; with 4 bits that pays for most blocks.
    The full range is tried first and kept unless another is better, so weights that lie on a grid
    stay on it.
    """
    top = (1 << bits) - 1
    low = np.minimum(blocks.min(axis=-1), 0)
    high = np.maximum(blocks.max(axis=-1), 0)
    best_scale = best_zero = best_error = np.empty(0, np.float32)
    for share in RANGE_SHARES if bits == 4 else RANGE_SHARES[:1]:
        scale = (high - low) * np.float32(share / top)
        inverse = _inverse(scale)
        zero = np.clip(np.rint(-low * share * inverse), 0, top)
        error = _error(blocks, Grid(scale, zero, inverse, top), stakes)
        if not best_error.size:
            best_scale, best_zero, best_error = scale, zero, error
            continue
        better = error < best_error
        for best, found in ((best_scale, scale), (best_zero, zero), (best_error, error)):
            np.copyto(best, found, where=better)
    return best_scale, best_zero


def _error(blocks: Float, grid: Grid, stakes: Float | None) -> Float:
    """Sum of squared errors per block, in place: this is where int4's time goes."""
    grid = grid.per_weight()
    work = blocks * grid.inverse
    np.add(work, grid.zeros + np.float32(0.5), out=work)
    np.floor(work, out=work)
    np.clip(work, 0, grid.top, out=work)
    np.subtract(work, grid.zeros, out=work)
    np.multiply(work, grid.scales, out=work)
    np.subtract(work, blocks, out=work)
    if stakes is not None:
        np.multiply(work, stakes, out=work)
    error: Float = np.einsum("...i,...i->...", work, work)
    return error


def pack(values: Bytes, bits: int) -> Bytes:
    """Pack the last axis: itself for 8 bits, two a byte for 4, an odd end filled with zero."""
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    low, high = values[..., 0::2], values[..., 1::2]
    return np.bitwise_or(low, np.left_shift(high, np.uint8(4)))


def _unpack(packed: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
