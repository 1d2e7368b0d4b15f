"""Where boards are plugged in: short names from the user's configuration, or whatever ssh takes."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgellm.errors import BundleInvalid, UsageError, did_you_mean
from edgellm.records import codec


@dataclass(frozen=True, slots=True)
class Entry:
    """One table of ``hosts.toml``; what it leaves out is ssh's or the board's own choice.

    Attributes:
        address: What ssh connects to: a name, an address, or a ``Host`` of its configuration.
        user: Who logs in.
        port: Of sshd.
        key: Private key file.
        config: An ssh configuration to use in place of the user's own.
        python: Python 3.11 or newer there.
        home: Where edgellm keeps its files there, such as on a faster disk.
        target: Id of the target that the board is.
    """

    address: str | None = None
    user: str | None = None
    port: int | None = None
    key: str | None = None
    config: str | None = None
    python: str = "python3"
    home: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """A board as its user calls it, and how to reach it."""

    name: str
    entry: Entry

    @property
    def ssh_arguments(self) -> tuple[str, ...]:
        """What ssh is told beyond its own configuration, the destination last."""
        entry = self.entry
        options = (
            ("-F", entry.config and str(Path(entry.config).expanduser())),
            ("-l", entry.user),
            ("-p", entry.port and str(entry.port)),
            ("-i", entry.key and str(Path(entry.key).expanduser())),
        )
        given = [word for flag, value in options if value for word in (flag, value)]
        return (*given, "--", entry.address or self.name)


def hosts_file() -> Path:
    """Return where the short names lie."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edgellm/hosts.toml"


def find(name: str) -> Host:
    """Return the host of a short name; any other name goes to ssh as it is.

    Raises:
        UsageError: ``hosts.toml`` is damaged, or ``name`` cannot be a host.
    """
    if not name or name.startswith("-"):
        raise UsageError(f"{name!r} is no host: write it like pi@board, or as ssh knows it")
    return Host(name, _entries().get(name, Entry()))


def _entries() -> Mapping[str, Entry]:
    path = hosts_file()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML ({error})") from None
    return {name: _entry(path, name, table) for name, table in tables.items()}


def _entry(path: Path, name: str, table: Any) -> Entry:
    known = Entry.__dataclass_fields__
    unknown = [key for key in table if key not in known] if isinstance(table, dict) else []
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"{path}: {name} has an unknown key {unknown[0]!r}{hint}")
    try:
        entry: Entry = codec.from_json(Entry, table, name)
    except BundleInvalid as error:
        raise UsageError(f"{path}: {error}") from None
    return entry
