"""Built Python packages that a bundle carries, and for which machines each was built.

A wheel's name says it all (the binary distribution format, "File name convention"):
``numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl`` is numpy 2.4.6 for
CPython 3.11 on aarch64, where glibc is 2.27 or newer: of several platforms, one must suit.
"""

import re
from dataclasses import dataclass

from edgellm.errors import UsageError

Version = tuple[int, ...]

NAME = re.compile(
    r"(?P<name>\w+)-(?P<version>[\w.]+)-cp(?P<python>\d+)-(?P<abi>\w+)-(?P<on>.+)\.whl"
)
# manylinux_MAJOR_MINOR_ARCH names the oldest glibc (PEP 600); this older name stands for one.
PLATFORM = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
LEGACY = ("manylinux2014_", "manylinux_2_17_")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel; its bytes and SHA-256 stand in the manifest's ``files``.

    Attributes:
        name: Package.
        version: Its version.
        path: Where it lies in the bundle, such as ``wheels/numpy-...whl``.
        python: CPython that it was built with, such as ``3.11``.
        abi: ``abi3`` where newer ones take it too, else the tag of that one, such as ``cp311``.
        arch: ``aarch64`` or ``x86_64``.
        glibc: The oldest glibc that it runs with, such as ``2.28``.
        installed_bytes: What ``install`` unpacks of it; 0 where nobody looked inside.
    """

    name: str
    version: str
    path: str
    python: str
    abi: str
    arch: str
    glibc: str
    installed_bytes: int = 0

    def takes(self, python: str) -> bool:
        """Return whether a CPython such as ``3.11`` or ``3.11.2`` loads it."""
        wanted, built = version(python)[:2], version(self.python)
        return wanted >= built if self.abi == "abi3" else wanted == built

    def suits(self, python: str, arch: str, glibc: str | None) -> bool:
        """Return whether a machine takes it; ``glibc`` is None where nobody knows it."""
        return (
            self.takes(python)
            and self.arch == arch
            and (glibc is None or version(glibc) >= version(self.glibc))
        )


def parse(path: str) -> Wheel:
    """Read a wheel's name.

    Raises:
        UsageError: It is no wheel of CPython for Linux with glibc.
    """
    found = NAME.fullmatch(path.rpartition("/")[2])
    platforms = (
        [PLATFORM.fullmatch(one.replace(*LEGACY)) for one in found["on"].split(".")]
        if found
        else []
    )
    oldest = min(((int(p[1]), int(p[2]), p[3]) for p in platforms if p), default=None)
    if found is None or oldest is None:
        raise UsageError(f"{path} is no wheel for Linux: give one with a manylinux tag")
    major, minor, arch = oldest
    python = f"{found['python'][0]}.{found['python'][1:]}"
    return Wheel(
        found["name"], found["version"], path, python, found["abi"], arch, f"{major}.{minor}"
    )


def version(text: str) -> Version:
    """Return the leading numbers of a version, to compare it with another.

    Example:
        >>> version("2.36-9+deb12u4")
        (2, 36)
    """
    numbers = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()
