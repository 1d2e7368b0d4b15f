"""What a machine can measure, and what would spoil it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgellm.measure import environment, perf_event, power, sysfs, throttle, vcgencmd
from edgellm.measure.counters import open_counters
from edgellm.records.machine import Environment
from edgellm.records.samples import CounterInfo, Unavailable
from edgellm.runner.imports import Imported

PARANOID = "proc/sys/kernel/perf_event_paranoid"
BUSY_SHARE = 0.5  # load average / cores
HOT_CELSIUS = 75.0  # boards of the Raspberry Pi kind slow down from 80
LOW_MEMORY = 0.25  # available / installed


@dataclass(frozen=True, slots=True)
class PowerSensor:
    """A sensor that a run would read; ``watts`` is None for those that count energy."""

    name: str
    source: str
    watts: float | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        environment: The machine; both of its states are now.
        paranoid: The kernel's ``perf_event_paranoid``.
        counters: What can be counted.
        uncounted: What cannot, and why.
        power: Sensors of power and energy.
        unpowered: Those that cannot be read, and why.
        unsaid: What else the kernel does not say, and why.
        throttle: What slows or slowed the machine down, in words.
        packages: Whether they can be imported.
        advice: One sentence for each problem.
    """

    environment: Environment
    paranoid: int | None
    counters: tuple[CounterInfo, ...]
    uncounted: tuple[Unavailable, ...]
    power: tuple[PowerSensor, ...]
    unpowered: tuple[Unavailable, ...]
    unsaid: tuple[Unavailable, ...]
    throttle: tuple[str, ...]
    packages: tuple[Imported, ...]
    advice: tuple[str, ...]


def examine(
    packages: tuple[Imported, ...],
    *,
    root: Path = Path("/"),
    open_event: perf_event.Open = perf_event.open_event,
    ask: vcgencmd.Ask = vcgencmd.ask,
) -> Diagnosis:
    """Look at a machine.

    Args:
        packages: What :func:`edgellm.runner.imports.probe` found.
        root: Where ``proc`` and ``sys`` are; for tests.
        open_event: Opens one hardware event; for tests.
        ask: Asks a Raspberry Pi's firmware; for tests.
    """
    now = environment.state(root, ask)
    versions = {package.package: package.version for package in packages if package.version}
    facts, gaps = environment.environment(now, now, versions, root)
    with open_counters(open_event=open_event, root=root) as opened:
        counters, uncounted = opened.counters.infos, opened.missing
    sensors, unpowered = _power(root, ask)
    slowed = throttle.describe(now.throttle)
    return Diagnosis(
        environment=facts,
        paranoid=sysfs.integer(root / PARANOID),
        counters=counters,
        uncounted=uncounted,
        power=sensors,
        unpowered=unpowered,
        unsaid=gaps,
        throttle=slowed,
        packages=packages,
        advice=(*_packages(packages), *_machine(facts), *_heat(facts, slowed)),
    )


def _power(
    root: Path, ask: vcgencmd.Ask
) -> tuple[tuple[PowerSensor, ...], tuple[Unavailable, ...]]:
    meters, missing = power.find_meters(root, ask)
    found = []
    for meter in meters:
        try:
            reading = meter.read()
        except (OSError, ValueError) as error:
            missing = (*missing, Unavailable(f"{power.POWER} {meter.name}", str(error)))
        else:
            watts = None if meter.counts_energy else reading
            found.append(PowerSensor(meter.name, meter.source, watts))
        meter.close()
    return tuple(found), missing


def _packages(packages: tuple[Imported, ...]) -> Iterator[str]:
    for package in packages:
        if package.failed:
            yield (
                f"{package.package} cannot be imported ({package.problem}): "
                "a bundle that was made with --target brings them, python3 BUNDLE install"
            )


def _machine(facts: Environment) -> Iterator[str]:
    state = facts.before
    if facts.emulation:
        yield (
            f"this machine is emulated ({facts.emulation}): check answers and count instructions "
            "here, measure time on the board itself"
        )
    elif facts.virtual:
        yield "this is a virtual machine, whose cores others may use: compare runs side by side"
    scaled = [p for p in facts.policies if p.governor not in (None, "performance")]
    if scaled:
        yield (
            f"the governor of {scaled[0].name} is {scaled[0].governor!r}, so the clock changes "
            "while measuring: sudo cpupower frequency-set -g performance"
        )
    if (state.load_average or 0) > BUSY_SHARE * facts.cores:
        yield f"the load is {state.load_average} on {facts.cores} cores: stop other work"
    if state.swap_used_bytes:
        yield (
            f"{state.swap_used_bytes / 2**20:.0f} MiB lie in swap: free memory, then empty it by "
            "sudo swapoff -a && sudo swapon -a"
        )
    available, installed = state.memory_available_bytes, facts.memory_bytes
    if available and installed and available < LOW_MEMORY * installed:
        yield (
            f"{available / 2**20:.0f} MiB of {installed / 2**20:.0f} MiB of memory are available: "
            "stop programs that hold it"
        )


def _heat(facts: Environment, slowed: tuple[str, ...]) -> Iterator[str]:
    hot = {n: t for n, t in facts.before.temperature_celsius.items() if t >= HOT_CELSIUS}
    if hot:
        zone = max(hot, key=hot.__getitem__)
        yield f"thermal zone {zone} is at {hot[zone]:.0f} °C: let it cool, or cool it better"
    if any("voltage" in word for word in slowed):
        yield "the supply's voltage fell: use a stronger supply and a shorter cable, then restart"
    elif slowed:
        yield f"the machine slowed itself down ({slowed[0]}): cool it better, then restart"
