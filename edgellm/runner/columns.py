"""Rows of cells as lines whose columns line up."""

from collections.abc import Iterable


def aligned(rows: Iterable[list[str]], *, left: int | None = None) -> list[str]:
    """Return the rows as lines.

    Args:
        rows: Of equally many cells.
        left: Columns, from the first, that begin at the left; the others end at the right. All
            begin at the left where None.
    """
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [at if left is None else left for at in range(1, len(widths) + 1)]
    return [
        "  ".join(
            cell.ljust(width) if at < side else cell.rjust(width)
            for at, (cell, width, side) in enumerate(zip(row, widths, sides, strict=True))
        ).rstrip()
        for row in table
    ]
