"""What a board is: cores, features, memory; one source for each number.

History of the format:
    target 1: first version.
    target 2: what all cores read, the software and sensors of a board, how it names itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True)
class CoreCluster:
    """Cores of one kind.

    Attributes:
        uarch: Micro-architecture by archspec's name where it has one, such as ``cortex_a76``.
        cores: How many; None where the target stands for many machines.
        max_hz: Highest clock, Hz; None where the target stands for many machines.
        features: SIMD features by the kernel's names (``asimd``, ``asimdhp``, ``asimddp``, ...).
        l1d_bytes: Level 1 data cache of one core.
        l2_bytes: Level 2 cache as the cluster sees it; ``l2_shared`` says whether all share it.
        l2_shared: True where ``l2_bytes`` serves the whole cluster, False where each core has it.
        read_bytes_per_s: Sequential reads by one core of this cluster.
    """

    uarch: str
    cores: int | None = None
    features: tuple[str, ...] = ()
    max_hz: int | None = None
    l1d_bytes: int | None = None
    l2_bytes: int | None = None
    l2_shared: bool | None = None
    read_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory.

    Attributes:
        bytes: Installed; None where the target stands for many machines.
        type: Kind and bus width, such as ``LPDDR4X-4267 32-bit``.
        l3_bytes: Last cache before it, shared by all clusters; None where there is none.
        latency_ns: One dependent read in a 64 MiB buffer.
        read_bytes_per_s: Sequential reads by all cores at once.
    """

    bytes: int | None = None
    type: str | None = None
    l3_bytes: int | None = None
    latency_ns: int | None = None
    read_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Software:
    """What the maker's 64-bit system brings.

    Attributes:
        os: Its name and releases.
        python: Of each release, such as ``3.11``.
        glibc: The oldest among the releases, such as ``2.36``.
    """

    os: str | None = None
    python: tuple[str, ...] = ()
    glibc: str | None = None


@dataclass(frozen=True, slots=True)
class Sensors:
    """What a board can say of itself, by the names that a report gives.

    Attributes:
        power: Rails, such as ``PMIC``.
        thermal: Types of thermal zones, such as ``cpu-thermal``.
    """

    power: tuple[str, ...] = ()
    thermal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Power:
    """Power at the wall socket, watts, with the supply's own loss."""

    idle_watts: float | None = None
    stress_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of board. Where one is plugged in is no part of it.

    Attributes:
        id: Name of the file without ``.toml``.
        name: For people.
        arch: ``x86_64`` or ``aarch64``.
        vendor: Maker of the board.
        soc: Chip.
        clusters: Fastest first.
        memory: Main memory.
        power: At the wall.
        models: How its device tree (``model``) or firmware (``product_name``) names it, without
            a revision. Empty where the target is more than one product.
        chips: How its chip is named: in the device tree's ``compatible``, or as the model of a
            processor. Read where ``models`` is empty.
        software: What it is sold with.
        sensors: What it can say of itself.
        sources: Dotted field name, or the start of one, to the public source of the values there.
    """

    KIND: ClassVar[str] = "target"
    SCHEMA: ClassVar[int] = 2
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
        1: lambda data: data  # what came with 2 has defaults
    }

    id: str
    name: str
    arch: Literal["aarch64", "x86_64"]
    vendor: str | None = None
    soc: str | None = None
    clusters: tuple[CoreCluster, ...] = ()
    memory: Memory = field(default_factory=Memory)
    power: Power = field(default_factory=Power)
    models: tuple[str, ...] = ()
    chips: tuple[str, ...] = ()
    software: Software = field(default_factory=Software)
    sensors: Sensors = field(default_factory=Sensors)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def cores(self) -> int | None:
        """All cores; None where the target stands for many machines."""
        return sum(cluster.cores or 0 for cluster in self.clusters) or None

    @property
    def features(self) -> tuple[str, ...]:
        """What every core has, and a program may therefore use wherever it runs."""
        first, *others = self.clusters or (CoreCluster(""),)
        return tuple(f for f in first.features if all(f in other.features for other in others))

    def source(self, name: str) -> str | None:
        """Return the source of a field such as ``clusters.0.l2_bytes``, or of what holds it."""
        while name not in self.sources and "." in name:
            name = name.rpartition(".")[0]
        return self.sources.get(name)
