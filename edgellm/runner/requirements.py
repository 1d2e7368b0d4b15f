"""What a bundle needs of the machine that runs it, and whether this one has it."""

import operator
import platform
import re
from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime as ort
import tokenizers

from edgellm.errors import BundleInvalid, UnsupportedModel

# Kernels and operator inputs change between onnxruntime's minors.
REQUIRES: Mapping[str, str] = {
    "python": ">=3.11",
    "numpy": ">=2.0",
    "onnxruntime": ">=1.32,<1.33",
    "tokenizers": ">=0.22,<0.24",
}
OPERATORS = "operators:"  # and a domain: the version of its operator set
OURS = "edgellm"  # the domain of operators that edgellm/kernels has
DOMAINS = ("ai.onnx", "com.microsoft", OURS)

_COMPARISONS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


def check(requires: Mapping[str, str], name: str) -> None:
    """Check a manifest's requirements against this machine.

    Args:
        requires: Package, or ``operators:DOMAIN``, to version range.
        name: The bundle, for messages.

    Raises:
        UnsupportedModel: The graph uses operators of a domain that the runner does not have.
        BundleInvalid: A version is outside its range, or the requirement is not understood.
    """
    here = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
        "tokenizers": tokenizers.__version__,
    }
    for what, wanted in requires.items():
        if what.startswith(OPERATORS):
            domain = what.removeprefix(OPERATORS)
            if domain not in DOMAINS:
                raise UnsupportedModel(
                    f"{name} uses operators of the domain {domain!r}, which the runner does not "
                    f"have (it has {', '.join(DOMAINS)}): export the model again"
                )
        elif what not in here:
            raise BundleInvalid(f"{name} requires {what!r}, unknown to this edgellm: upgrade it")
        elif not satisfies(here[what], wanted, name):
            raise BundleInvalid(
                f"{name} needs {what} {wanted}, here is {here[what]}: install one in that range"
            )


def satisfies(version: str, wanted: str, name: str) -> bool:
    """Say whether ``version`` lies in a range such as ``>=1.32,<1.33``.

    Only the numbers of a release count: ``1.32.0rc1`` is read as ``1.32.0``.

    Raises:
        BundleInvalid: The range cannot be read; ``name`` says where it stands.
    """
    for part in wanted.split(","):
        match = re.fullmatch(r"\s*(>=|<=|==|<|>)\s*([0-9]+(?:\.[0-9]+)*)\s*", part)
        if not match:
            raise BundleInvalid(f"{name} has a version range that cannot be read: {wanted!r}")
        compare, limit = match.groups()
        if not _COMPARISONS[compare](_numbers(version), _numbers(limit)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:  # 2.0 and 2.0.0 are one version
        numbers.pop()
    return tuple(numbers)
