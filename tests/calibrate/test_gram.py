"""Gram matrices: the sum over all sequences, however many fit at once."""

from collections.abc import Iterator

import numpy as np
import pytest

from edgellm.calibrate import gram
from edgellm.calibrate.observe import Array, Watch

WIDTHS = {"a": 3, "b": 4, "c": 3}
SEEN = {
    name: np.random.default_rng(width).normal(size=(2, 5, width)).astype(np.float32)
    for name, width in WIDTHS.items()
}


@pytest.mark.parametrize(("held", "runs"), [(1 << 20, 1), (100, 2), (80, 3), (1, 3)])
def test_every_value_has_its_matrix_over_the_whole_text(
    held: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram, "GRAM_BYTES", held)
    asked: list[list[str]] = []

    def run(watch: Watch) -> Iterator[tuple[list[Array], list[Array]]]:
        asked.append(list(watch.values))
        for part in range(2):
            yield [], [SEEN[name][part] for name in watch.values]

    found = dict(gram.grams(run, WIDTHS))

    assert list(found) == list(WIDTHS)
    assert len(asked) == runs
    for name, parts in SEEN.items():
        rows = np.concatenate(parts)
        np.testing.assert_allclose(found[name], rows.T @ rows, rtol=1e-5)
