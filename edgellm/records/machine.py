"""The machine under a run: what it is, what it did meanwhile, and the most it could do."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FrequencyPolicy:
    """A group of cores that share a clock, as cpufreq describes it."""

    name: str
    cpus: tuple[int, ...]
    governor: str | None
    min_hz: int | None
    max_hz: int | None


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Time of all cores since boot, as the kernel accounts it.

    Attributes:
        busy_ns: Not idle and not waiting for a disk; ``stolen_ns`` is not in it.
        stolen_ns: A hypervisor ran somebody else meanwhile.
        own_ns: Of ``busy_ns``, what this process used.
    """

    busy_ns: int
    stolen_ns: int
    own_ns: int


@dataclass(frozen=True, slots=True)
class MachineState:
    """What changes while a machine works: read before and after.

    Attributes:
        load_average: Mean number of running tasks over a minute.
        memory_available_bytes: What programs could still have without swapping.
        swap_used_bytes: What lies in swap.
        frequency_hz: By cpufreq policy, what cpufreq claims.
        temperature_celsius: By thermal zone.
        throttle: By source, a number that stays the same unless the machine slows itself down:
            event counts (x86) or the firmware's bits (Raspberry Pi).
        cpu_time: None where the kernel does not say.
    """

    load_average: float | None
    memory_available_bytes: int | None
    swap_used_bytes: int | None
    frequency_hz: Mapping[str, int]
    temperature_celsius: Mapping[str, float]
    throttle: Mapping[str, int] = field(default_factory=dict)
    cpu_time: CpuTime | None = None


@dataclass(frozen=True, slots=True)
class MachineSample:
    """What the sampler saw at one moment, ``at_ns`` after the run's start."""

    at_ns: int
    frequency_hz: Mapping[str, int]
    temperature_celsius: Mapping[str, float]
    throttle: Mapping[str, int]
    load_average: float | None
    swap_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class PowerRail:
    """One sensor of power or energy over the run; exactly one of the two series is filled.

    Attributes:
        name: The rail as its driver names it, such as ``package-0`` or ``VDD_IN``.
        source: The driver and where it measures, as a sentence for people.
        idle_watts: Mean power before the model was loaded; never subtracted unasked.
        at_ns: Moments of the readings, after the run's start.
        watts: Power at each moment.
        joules: Energy used since the first reading, for sensors that count energy.
    """

    name: str
    source: str
    idle_watts: float | None
    at_ns: tuple[int, ...]
    watts: tuple[float, ...] = ()
    joules: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """The machine during the run, sampled by a thread of its own.

    Attributes:
        interval_ns: Time between samples.
        cost_ns: Processor time that the sampler used.
        duration_ns: How long it sampled.
        samples: In order.
        rails: Power and energy.
    """

    interval_ns: int
    cost_ns: int
    duration_ns: int
    samples: tuple[MachineSample, ...]
    rails: tuple[PowerRail, ...] = ()


@dataclass(frozen=True, slots=True)
class Roof:
    """The most that this machine did in a probe of a few seconds.

    Attributes:
        threads: Threads of the probe.
        read_bytes_per_s: Sequential reads of a buffer far larger than the caches.
        ops_per_s: By type (``float32``, ``int8``), a large matrix product; a multiply-accumulate
            is two operations.
        buffer_bytes: Size of the buffer that was read.
    """

    threads: int
    read_bytes_per_s: float
    ops_per_s: Mapping[str, float]
    buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the process; the peak covers loading and every repetition.

    Attributes:
        peak_rss_bytes: Most that was resident.
        loaded_rss_bytes: Resident once the model was loaded.
        kv_cache_bytes: Keys and values at the run's context, by their shape.
        clean_peak: The kernel let the peak be reset before loading.
        pss_bytes: Resident after the run, shared pages divided among those who share them.
        anonymous_bytes: Of it, what no file backs: packed weights, caches, heap.
        file_bytes: Of it, mapped files, such as weights read where they lie.
        minor_faults: Page faults during the repetitions that needed no disk.
        major_faults: Those that did.
    """

    peak_rss_bytes: int | None
    loaded_rss_bytes: int | None
    kv_cache_bytes: int
    clean_peak: bool = True
    pss_bytes: int | None = None
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine around the run.

    Attributes:
        kernel: Release.
        machine: As ``platform.machine()`` names it.
        cpu_model: Of the first core.
        board: By the device tree or the firmware.
        virtual: A hypervisor or an emulator is under it.
        emulation: What emulates the processor, as words for people; None on a real one.
        cores: Of the machine.
        affinity: Cores that this process may use.
        memory_bytes: Installed.
        policies: Clocks.
        versions: Package to version.
        features: SIMD features by the kernel's names.
        before: Before the run.
        after: After it.
        compatible: What the device tree calls the board and its chip, most special first.
        firmware: What started it, by its source, such as the boot loader's version; it decides how
            fast memory is.
        core_models: Cores of each kind, such as ``Cortex-A76`` to 4; empty where one is unknown.
    """

    kernel: str
    machine: str
    cpu_model: str | None
    board: str | None
    virtual: bool
    cores: int
    affinity: tuple[int, ...]
    memory_bytes: int | None
    policies: tuple[FrequencyPolicy, ...]
    versions: Mapping[str, str]
    before: MachineState
    after: MachineState
    emulation: str | None = None
    features: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    core_models: Mapping[str, int] = field(default_factory=dict)
    firmware: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The board, else its processor; an emulated one says so."""
        name = self.board or self.cpu_model or self.machine
        return f"{name} (emulated: {self.emulation})" if self.emulation else name
