"""Second moments of activations: all that least squares needs to know of a text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from edgellm.calibrate.observe import Array, Watch

GRAM_BYTES = 512 << 20
"""Gram matrices held at once; more of them take several runs over the calibration text."""

Run = Callable[[Watch], Iterator[tuple[list[Array], list[Array]]]]
"""Runs the calibration text, as :func:`~edgellm.calibrate.observe.observe` does."""


def grams(run: Run, widths: Mapping[str, int]) -> Iterator[tuple[str, Array]]:
    """Yield H^T H of values of a graph over the whole text.

    Args:
        run: Runs the text.
        widths: Channels of each value, by its name.

    Yields:
        Name and matrix ``(width, width)``, in the order of ``widths``.
    """
    for names in _batches(widths):
        seen = run(Watch(values=names))
        yield from zip(names, gram_matrices(values for _, values in seen), strict=True)


def _batches(widths: Mapping[str, int]) -> Iterator[list[str]]:
    """Cut names into runs whose matrices take at most ``GRAM_BYTES``, one at least."""
    batch: list[str] = []
    held = 0
    for name, width in widths.items():
        held += 4 * width**2
        if batch and held > GRAM_BYTES:
            yield batch
            batch, held = [], 4 * width**2
        batch.append(name)
    if batch:
        yield batch


def gram_matrices(activations: Iterable[Sequence[Array]]) -> list[Array]:
    """Return H^T H per block, summed over sequences in float32.

    Args:
        activations: Per sequence, one array ``(tokens, width)`` per block.
    """
    grams: list[Array] = []
    for blocks in activations:
        if not grams:
            grams = [np.zeros((h.shape[1], h.shape[1]), np.float32) for h in blocks]
        for gram, h in zip(grams, blocks, strict=True):
            np.add(gram, h.T @ h, out=gram)
    return grams
