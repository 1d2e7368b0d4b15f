"""The performance monitoring units (PMUs) of this machine's cores, as ``/sys`` lists them.

A machine with two kinds of cores has two, each counting on its own cores only. Their names are the
kernel's and differ between machines, so they are found and never assumed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

DEVICES = "sys/bus/event_source/devices"


@dataclass(frozen=True, slots=True)
class Pmu:
    """One core PMU.

    Attributes:
        name: As the kernel calls it, such as ``armv8_cortex_a72``.
        kind: Its number, the ``type`` of ``perf_event_attr``.
        cpus: The cores on which it counts; empty where the kernel does not say: all.
        announced: Names of the events that the kernel found in it.
    """

    name: str
    kind: int
    cpus: frozenset[int]
    announced: frozenset[str]

    def covers(self, cpus: Collection[int]) -> int:
        """Return on how many of ``cpus`` it counts."""
        return len(self.cpus.intersection(cpus)) if self.cpus else len(cpus)


def find_pmus(root: Path = Path("/")) -> tuple[Pmu, ...]:
    """Return the PMUs of cores, by name.

    Those of caches and buses have no ``cpus`` file; a lone one of x86 is called ``cpu``.

    Args:
        root: Where ``sys`` is; for tests.
    """
    folder = root / DEVICES
    devices = sorted(folder.iterdir()) if folder.is_dir() else []
    found = (_read(device) for device in devices)
    return tuple(pmu for pmu in found if pmu is not None)


def _read(device: Path) -> Pmu | None:
    cpus = device / "cpus"
    if device.name != "cpu" and not cpus.exists():
        return None
    try:
        kind = int((device / "type").read_text())
        listed = cpu_list(cpus.read_text()) if cpus.exists() else frozenset[int]()
    except (OSError, ValueError):
        return None  # half-registered, as during a driver's loading: not to be counted on
    events = device / "events"
    announced = {path.name for path in events.iterdir()} if events.is_dir() else set()
    return Pmu(device.name, kind, listed, frozenset(announced))


def cpu_list(text: str) -> frozenset[int]:
    """Return the cores of a kernel list.

    Example:
        >>> sorted(cpu_list("0-2,5"))
        [0, 1, 2, 5]
    """
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
