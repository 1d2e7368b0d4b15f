"""``edgellm targets``: which boards are known, what each is, and which one a machine is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgellm.cli._common import emit, handle_errors, json_option, output_option

if TYPE_CHECKING:
    from edgellm.records.machine import Environment
    from edgellm.records.target import CoreCluster, Target
    from edgellm.targets import Detection

NEAREST = 6  # other targets that detect explains unasked


@click.group("targets", short_help="List the boards that are known.", invoke_without_command=True)
@json_option
@click.pass_context
@handle_errors
def command(context: click.Context, as_json: bool) -> None:
    """List the boards that are known, show one, or say which one a machine is.

    \b
    Examples:
      edgellm targets
      edgellm targets show raspberry-pi-5-8gb
      edgellm targets detect
    """
    if context.invoked_subcommand is not None:
        return
    from edgellm import targets

    found = [targets.load(name) for name in targets.names()]
    width = max(len(target.id) for target in found)
    emit(as_json, found, "\n".join(f"{t.id:{width}}  {_summary(t)}" for t in found))


@command.command("show", short_help="Show one board with the source of each number.")
@click.argument("name")
@json_option
@handle_errors
def show(name: str, as_json: bool) -> None:
    """Show the board NAME: cores, memory, power, software and sensors, each with its source.

    \b
    Examples:
      edgellm targets show raspberry-pi-4b-4gb
      edgellm targets show orange-pi-5 --json
    """
    from edgellm import targets

    target = targets.load(name)
    emit(as_json, target, "\n".join([f"{target.id}: {target.name}", *_details(target)]))


@command.command("detect", short_help="Say which board this machine is, and why not another.")
@click.argument("path", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("--all", "everything", is_flag=True, help="Say of every other board why not.")
@json_option
@handle_errors
def detect(path: Path | None, everything: bool, as_json: bool) -> None:
    """Say which board this machine is, or the one that FILE is of: a report, or a recording.

    \b
    Examples:
      edgellm targets detect
      edgellm targets detect board.report.json
      edgellm targets detect recorded/machine.txt --all
    """
    from edgellm import targets

    facts = _facts_here() if path is None else _facts_of(path)
    found = targets.detect(facts)
    others = list(found.why_not)
    near = [name for name in others if targets.load(name).arch == facts.machine][:NEAREST]
    emit(as_json, found, "\n".join(_detected(facts, found, others if everything else near)))


@command.command("record", short_help="Record this machine for tests, without personal data.")
@output_option("Folder")
@json_option
@handle_errors
def record(output: Path, force: bool, as_json: bool) -> None:
    """Write what this machine's kernel says to the probes into a folder, as tests read it.

    Names of the host and of users, serial numbers and addresses are cut out; it says how many.

    \b
    Examples:
      edgellm targets record -o tests/data/machines/my-board
    """
    import platform

    from edgellm import __version__, targets
    from edgellm.records import folder

    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    recording = targets.record(
        f"Recorded by edgellm {__version__} ({system}).", targets.private_names()
    )
    with folder.whole(output, force=force) as scratch:
        (scratch / folder.RECORDING_FILE).write_text(recording.text, encoding="utf-8")
    cut = [f"  {count} x {what}" for what, count in recording.removed.items()]
    lines = [f"{output / folder.RECORDING_FILE}: {recording.text.count(targets.MARK)} files"]
    lines += ["cut out:", *cut] if cut else ["no personal data was found in them"]
    written = {"file": str(output / folder.RECORDING_FILE), "removed": recording.removed}
    emit(as_json, written, "\n".join(lines))


def _facts_here() -> Environment:
    from edgellm.measure.environment import environment, state

    now = state()
    return environment(now, now, {})[0]


def _facts_of(path: Path) -> Environment:
    from edgellm import targets
    from edgellm.errors import UsageError
    from edgellm.records import codec
    from edgellm.records.report import Report

    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    if text.startswith("{"):
        return codec.read(Report, path).environment
    return targets.replay(text, str(path))


def _detected(facts: Environment, found: Detection, others: list[str]) -> list[str]:
    cores = " + ".join(f"{count} x {name}" for name, count in facts.core_models.items())
    cores = cores or f"{facts.cores} x {facts.cpu_model or 'unknown core'}"
    parts = (facts.name, facts.machine, cores, _size(facts.memory_bytes))
    best = found.best
    lines = [
        f"{best.id}: {best.name}" if best else "no target fits this machine",
        f"  this machine: {', '.join(part for part in parts if part)}",
    ]
    width = max(map(len, others), default=0)
    lines += [f"  not {name:{width}}  {'; '.join(found.why_not[name])}" for name in others]
    if left := len(found.why_not) - len(others):
        lines.append(f"  and {left} more: --all")
    return lines


def _summary(target: Target) -> str:
    cores = " + ".join(_cores(cluster) for cluster in target.clusters)
    memory = _size(target.memory.bytes)
    return ", ".join(part for part in (target.name, cores, memory) if part)


def _details(target: Target) -> list[str]:
    memory, power = target.memory, target.power
    software, sensors = target.software, target.sensors
    rows = [
        ("arch", target.arch, "arch"),
        ("soc", target.soc, "soc"),
        *(row for i, c in enumerate(target.clusters) for row in _cluster_rows(i, c)),
        ("memory", _size(memory.bytes), "memory.bytes"),
        ("memory type", memory.type, "memory.type"),
        ("L3", _size(memory.l3_bytes), "memory.l3_bytes"),
        ("memory latency", _unit(memory.latency_ns, "ns"), "memory.latency_ns"),
        ("read, all cores", _rate(memory.read_bytes_per_s), "memory.read_bytes_per_s"),
        ("power, idle", _unit(power.idle_watts, "W"), "power.idle_watts"),
        ("power, stress", _unit(power.stress_watts, "W"), "power.stress_watts"),
        ("power sensors", ", ".join(sensors.power), "sensors.power"),
        ("thermal sensors", ", ".join(sensors.thermal), "sensors.thermal"),
        ("system", software.os, "software.os"),
        ("Python", ", ".join(software.python), "software.python"),
        ("glibc", software.glibc, "software.glibc"),
    ]
    return [
        f"  {label:22} {value:34} {target.source(key) or ''}".rstrip()
        for label, value, key in rows
        if value
    ]


def _cluster_rows(index: int, cluster: CoreCluster) -> list[tuple[str, str | None, str]]:
    where = f"clusters.{index}"
    shared = {True: " shared", False: " each", None: ""}[cluster.l2_shared]
    l2 = _size(cluster.l2_bytes)
    return [
        ("cores", _cores(cluster), f"{where}.cores"),
        ("  features", " ".join(cluster.features) or None, f"{where}.features"),
        ("  counts", _events(cluster.uarch), ""),
        ("  L1 data", _size(cluster.l1d_bytes), f"{where}.l1d_bytes"),
        ("  L2", l2 and l2 + shared, f"{where}.l2_bytes"),
        ("  read, one core", _rate(cluster.read_bytes_per_s), f"{where}.read_bytes_per_s"),
    ]


def _events(uarch: str) -> str | None:
    """Return what this kind of core counts beside cycles and instructions."""
    from edgellm.measure.events import ARM_CORES
    from edgellm.targets import uarch_of

    cores = (core for core in ARM_CORES.values() if uarch_of(core.name) == uarch)
    return next((", ".join(core.events) for core in cores), None)


def _cores(cluster: CoreCluster) -> str:
    clock = f" {cluster.max_hz / 1e9:.3g} GHz" if cluster.max_hz else ""
    count = f"{cluster.cores} x " if cluster.cores else ""
    return f"{count}{cluster.uarch}{clock}"


def _size(count: int | None) -> str | None:
    if count is None:
        return None
    for unit, bits in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << bits:
            return f"{count / (1 << bits):.4g} {unit}"
    return f"{count >> 10} KiB"


def _rate(bytes_per_s: int | None) -> str | None:
    return None if bytes_per_s is None else f"{bytes_per_s / 1e9:.5g} GB/s"


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.5g} {unit}"
