"""The libraries of operators that go with a bundle whose graph uses them."""

from collections.abc import Mapping
from pathlib import Path

import edgellm
from edgellm.runner.kernels import MEMBER


def kernel_libraries() -> Mapping[str, Path]:
    """Return the libraries that were built (scripts/build_kernels), by their name in a bundle.

    A bundle does without: then onnxruntime's own operators do the same in more instructions.
    """
    folder = Path(edgellm.__file__).parent / "kernels"
    return {path.name: path for path in folder.glob(MEMBER.format(machine="*"))}
