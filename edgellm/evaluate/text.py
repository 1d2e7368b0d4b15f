"""The text that a model is evaluated on: never the one that shaped it."""

from collections.abc import Iterable
from pathlib import Path

from edgellm.errors import UsageError
from edgellm.graph.text import Text, read_text
from edgellm.records.manifest import Step

DEFAULT = Path(__file__).with_name("evaluation.txt")
"""Of the same kinds as the default calibration text, with no sentence in common."""


def load_text(path: Path | None, histories: Iterable[tuple[Step, ...]]) -> Text:
    """Read the evaluation text.

    Args:
        path: A UTF-8 text; the one that ships with edgellm where None.
        histories: Provenance of every model that it will be used on.

    Raises:
        UsageError: The file cannot be read, or one of the models was calibrated on it.
    """
    text = read_text(path or DEFAULT)
    for steps in histories:
        for step in steps:
            used = step.parameters.get("calibration")
            if isinstance(used, dict) and used.get("sha256") == text.sha256:
                raise UsageError(
                    f"{path or DEFAULT} is the text that {step.action} was calibrated on: "
                    "figures on it would flatter the model; give another with --text"
                )
    return text
