"""Find, inherit and read ``targets/*.toml``; ``targets/README.md`` explains the fields."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from edgellm.errors import BundleInvalid, UsageError, did_you_mean
from edgellm.records import codec
from edgellm.records.target import Target

ENVIRONMENT = "EDGELLM_TARGETS"
VERSION = re.compile(r"\d+\.\d+")


def directory() -> Path:
    """Return the folder that targets are read from.

    ``EDGELLM_TARGETS`` first; then the copy inside an installed package; then the checkout.

    Raises:
        UsageError: None of them is a folder.
    """
    package = Path(__file__).parents[1]
    given = os.environ.get(ENVIRONMENT)
    places = [Path(given)] if given else [package / "_targets", package.parent / "targets"]
    for place in places:
        if place.is_dir():
            return place
    raise UsageError(f"no targets in {places[-1]}; set {ENVIRONMENT} to a folder of target files")


def names() -> tuple[str, ...]:
    """Return the ids of all targets, sorted."""
    return tuple(sorted(path.stem for path in directory().glob("*.toml")))


def load(name: str) -> Target:
    """Read a target with what it inherits.

    Args:
        name: The target's id.

    Raises:
        UsageError: There is no such target.
        BundleInvalid: The file or one that it inherits from is wrong; the message names the file,
            the field and its value.
    """
    return _loaded(name, ())[0]


def _loaded(name: str, children: tuple[str, ...]) -> tuple[Target, dict[str, Any]]:
    """Return a target and its table with what it inherits.

    Each parent is made a target of its own first, so that a fault is named in the file that has it.
    """
    if name in children:
        circle = " -> ".join((*children[children.index(name) :], name))
        raise BundleInvalid(f"target {name!r} inherits from itself: {circle}")
    path, table = _read(name)
    parent = table.pop("from", None)
    if parent is not None:
        if parent not in names():
            known = did_you_mean(str(parent), names())
            raise BundleInvalid(f"{path} inherits from {parent!r}, which is not there{known}")
        table = _merged(_loaded(parent, (*children, name))[1], table)
    target = cast("Target", codec.from_json(Target, {**table, "id": name}, f"{path}: target"))
    _check(target, path)
    return target, table


def _check(target: Target, path: Path) -> None:
    """Refuse what the types allow and nobody means: nothing is 0, and a version is two numbers.

    Raises:
        BundleInvalid: Names the file, the field and its value.
    """
    for field, value in _leaves(codec.to_json(target), ""):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
            raise BundleInvalid(f"{path}: target.{field} should be more than 0, not {value}")
        versioned = field.startswith(("software.python", "software.glibc"))
        if versioned and value is not None and not VERSION.fullmatch(value):
            raise BundleInvalid(
                f"{path}: target.{field} should be two numbers such as 3.11, not {value!r}"
            )


def _leaves(value: codec.Json, name: str) -> Iterator[tuple[str, codec.Json]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{index}]")
    else:
        yield name, value


def _read(name: str) -> tuple[Path, dict[str, Any]]:
    known = names()
    if name not in known:
        raise UsageError(f"no target {name!r}{did_you_mean(name, known)} (list: edgellm targets)")
    path = directory() / f"{name}.toml"
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BundleInvalid(f"{path} is not valid TOML: {error}") from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` on top: tables key by key, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = value
    return merged
