"""Records to JSON and back: frozen dataclasses, checked on the way in.

A file starts with ``kind`` and ``schema``. A record class that is a file's root carries both as
class variables; ``UPGRADES`` maps an older schema to the function that lifts its JSON by one.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from edgellm.errors import BundleInvalid, UsageError
from edgellm.records import folder

Json = Any
T = TypeVar("T")


class Root(Protocol):
    """A record that is the root of a file."""

    KIND: ClassVar[str]
    SCHEMA: ClassVar[int]
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Json]], dict[str, Json]]]]


R = TypeVar("R", bound=Root)


def to_json(value: Any) -> Json:
    """Return ``value`` as JSON types; dataclasses become objects, tuples become lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number: use None and say why")
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def from_json(hint: Any, data: Json, where: str = "record") -> Any:
    """Build ``hint`` from JSON.

    Args:
        hint: A dataclass, a scalar, ``tuple[T, ...]``, ``Mapping[str, T]``, a union or ``Any``.
        data: Parsed JSON.
        where: Path of ``data`` in its file, for the message.

    Raises:
        BundleInvalid: A key is unknown or missing, or a value has the wrong type.
    """
    if hint is Any:
        return data
    if typing.get_origin(hint) is not None:
        return _generic(hint, data, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, data, where)
    return _scalar(hint, data, where)


def _generic(hint: Any, data: Json, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(args, data, where)
    if origin is typing.Literal:
        _expect(data in args, where, f"one of {', '.join(map(repr, args))}", data)
        return data
    if origin is tuple:
        _expect(isinstance(data, list), where, "a list", data)
        return tuple(from_json(args[0], x, f"{where}[{i}]") for i, x in enumerate(data))
    assert origin is not None
    assert issubclass(origin, Mapping), f"no rule for {hint}"
    _expect(isinstance(data, dict), where, "an object", data)
    return {key: from_json(args[1], x, f"{where}.{key}") for key, x in data.items()}


def _expect(good: bool, where: str, what: str, data: Json) -> None:
    if not good:
        shown = json.dumps(data)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise BundleInvalid(f"{where} should be {what}, not {shown}")


def _union(options: tuple[Any, ...], data: Json, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    real = [option for option in options if option is not type(None)]
    for option in real[:-1]:
        try:
            return from_json(option, data, where)
        except BundleInvalid:
            continue
    return from_json(real[-1], data, where)


def _dataclass(cls: Any, data: Json, where: str) -> Any:
    _expect(isinstance(data, dict), where, "an object", data)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise BundleInvalid(f"{where} has an unknown key {unknown[0]!r}")
    hints = _hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = from_json(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BundleInvalid(f"{where} lacks the key {name!r}")
    return cls(**values)


def _scalar(hint: Any, data: Json, where: str) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        options = typing.get_args(hint)
        _expect(data in options, where, f"one of {', '.join(map(repr, options))}", data)
        return data
    if hint is float:
        good = isinstance(data, (int, float)) and not isinstance(data, bool)
        _expect(good and abs(data) <= sys.float_info.max, where, "a finite number", data)
        return float(data)
    if hint is int:
        _expect(isinstance(data, int) and not isinstance(data, bool), where, "an integer", data)
        return data
    _expect(isinstance(data, hint), where, hint.__name__, data)
    return data


def dumps(record: Root) -> str:
    """Return the text of a root record: stable key order, one trailing newline."""
    body = {"kind": record.KIND, "schema": record.SCHEMA, **to_json(record)}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def loads(cls: type[R], text: str | bytes, name: str) -> R:
    """Parse a root record.

    Args:
        cls: The record class, with ``KIND``, ``SCHEMA`` and ``UPGRADES``.
        text: The file's content.
        name: The file's name, for messages.

    Raises:
        BundleInvalid: Not JSON, another kind, a newer schema, or a bad field.
    """
    try:
        data = json.loads(text, parse_constant=lambda word: _refuse_constant(word, name))
    except (ValueError, RecursionError) as error:  # also numbers too long and lists too deep
        raise BundleInvalid(
            f"{name} is not valid JSON ({error}): it is damaged or cut off"
        ) from None
    if not isinstance(data, dict) or data.pop("kind", None) != cls.KIND:
        raise BundleInvalid(f"{name} is not an edgellm {cls.KIND} file")
    schema = data.pop("schema", None)
    if not isinstance(schema, int) or schema < 1:
        raise BundleInvalid(f"{name} has no schema number")
    if schema > cls.SCHEMA:
        raise BundleInvalid(
            f"{name} has schema {schema}, this edgellm reads up to {cls.SCHEMA}: upgrade edgellm"
        )
    for old in range(schema, cls.SCHEMA):
        data = cls.UPGRADES[old](data)
    return typing.cast("R", from_json(cls, data, name))


def _refuse_constant(word: str, name: str) -> float:
    raise BundleInvalid(f"{name} holds {word}, which is not a measurement: the file is damaged")


def read(cls: type[R], path: Path) -> R:
    """Read a root record from ``path``; see :func:`loads` for its errors.

    Raises:
        UsageError: ``path`` cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; give a file that edgellm wrote") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    return loads(cls, text, str(path))


def write(path: Path, record: Root) -> None:
    """Write a root record aside and rename it, so that a file that exists is whole.

    Raises:
        UsageError: ``path`` cannot be written.
        EdgellmError: The disk is full.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = dumps(record)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise folder.readable(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # what ended the write is the error to tell
            aside.unlink()
