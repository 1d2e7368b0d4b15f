"""The text that may be used."""

from pathlib import Path

import pytest

from edgellm.calibrate import calibration
from edgellm.errors import UsageError
from edgellm.evaluate.text import load_text
from edgellm.graph.text import read_text
from edgellm.records.manifest import Step


def test_the_default_text_is_not_the_calibration_text() -> None:
    pruned = Step(
        "prune", {"calibration": {"sha256": read_text(calibration.DEFAULT).sha256}}, {}, {}
    )

    assert load_text(None, [(pruned,)]).name == "evaluation.txt"


def test_the_text_that_a_model_was_calibrated_on_is_refused_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "renamed.txt").write_bytes(calibration.DEFAULT.read_bytes())
    pruned = Step(
        "prune", {"calibration": {"sha256": read_text(calibration.DEFAULT).sha256}}, {}, {}
    )

    with pytest.raises(UsageError, match=r"renamed\.txt is the text that prune was calibrated on"):
        load_text(tmp_path / "renamed.txt", [(), (Step("export", {}, {}, {}), pruned)])
