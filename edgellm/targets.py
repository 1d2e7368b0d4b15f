"""Find, inherit and read ``targets/*.toml``; ``targets/README.md`` explains the fields."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgellm.errors import BundleInvalid, UsageError, did_you_mean
from edgellm.records import codec
from edgellm.records.target import Target

ENVIRONMENT = "EDGELLM_TARGETS"


def directory() -> Path:
    """Return the folder that targets are read from.

    ``EDGELLM_TARGETS`` first; then the copy inside an installed package; then the checkout.

    Raises:
        UsageError: None of them is a folder.
    """
    package = Path(__file__).parent
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
        BundleInvalid: The file or one that it inherits from is wrong; the message names it.
    """
    return cast("Target", codec.from_json(Target, {"id": name, **_resolved(name, ())}, name))


def _resolved(name: str, children: tuple[str, ...]) -> dict[str, Any]:
    if name in children:
        raise BundleInvalid(f"target {name!r} inherits from itself: {' -> '.join(children)}")
    table = _read(name)
    parent = table.pop("from", None)
    if parent is None:
        return table
    if parent not in names():
        known = did_you_mean(str(parent), names())
        raise BundleInvalid(f"target {name!r} inherits from {parent!r}, which is not there{known}")
    return _merged(_resolved(parent, (*children, name)), table)


def _read(name: str) -> dict[str, Any]:
    known = names()
    if name not in known:
        raise UsageError(f"no target {name!r}{did_you_mean(name, known)} (list: edgellm targets)")
    path = directory() / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
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
