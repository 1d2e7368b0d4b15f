"""``edgellm targets``: which boards are known, and what each one is."""

from typing import TYPE_CHECKING

import click

from edgellm.cli._common import emit, handle_errors, json_option

if TYPE_CHECKING:
    from edgellm.records.target import CoreCluster, Target


@click.group("targets", short_help="List the boards that are known.", invoke_without_command=True)
@json_option
@click.pass_context
@handle_errors
def command(context: click.Context, as_json: bool) -> None:
    """List the boards that are known, or show one.

    \b
    Examples:
      edgellm targets
      edgellm targets show raspberry-pi-5-8gb
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
    """Show the board NAME: cores, features, caches, memory and power, each with its source.

    \b
    Examples:
      edgellm targets show raspberry-pi-4b-4gb
      edgellm targets show orange-pi-5 --json
    """
    from edgellm import targets

    target = targets.load(name)
    emit(as_json, target, "\n".join([f"{target.id}: {target.name}", *_details(target)]))


def _summary(target: "Target") -> str:
    cores = " + ".join(f"{c.cores} x {c.uarch}{_clock(c)}" for c in target.clusters)
    memory = _size(target.memory.bytes) if target.memory.bytes else ""
    return ", ".join(part for part in (target.name, cores, memory) if part)


def _details(target: "Target") -> list[str]:
    memory, power = target.memory, target.power
    rows = [
        ("arch", target.arch, "arch"),
        ("soc", target.soc, "soc"),
        *(row for i, c in enumerate(target.clusters) for row in _cluster_rows(i, c)),
        ("memory", _size(memory.bytes), "memory.bytes"),
        ("memory type", memory.type, "memory.type"),
        ("L3", _size(memory.l3_bytes), "memory.l3_bytes"),
        ("memory latency", _unit(memory.latency_ns, "ns"), "memory.latency_ns"),
        ("power, idle", _unit(power.idle_watts, "W"), "power.idle_watts"),
        ("power, stress", _unit(power.stress_watts, "W"), "power.stress_watts"),
    ]
    return [
        f"  {label:22} {value:34} {target.source(key) or ''}".rstrip()
        for label, value, key in rows
        if value is not None
    ]


def _cluster_rows(index: int, cluster: "CoreCluster") -> list[tuple[str, str | None, str]]:
    where = f"clusters.{index}"
    shared = {True: " shared", False: " each", None: ""}[cluster.l2_shared]
    l2 = _size(cluster.l2_bytes)
    read = _unit(cluster.read_bytes_per_s and cluster.read_bytes_per_s / 1e9, "GB/s")
    return [
        ("cores", f"{cluster.cores} x {cluster.uarch}{_clock(cluster)}", f"{where}.cores"),
        ("  features", " ".join(cluster.features) or None, f"{where}.features"),
        ("  L1 data", _size(cluster.l1d_bytes), f"{where}.l1d_bytes"),
        ("  L2", l2 and l2 + shared, f"{where}.l2_bytes"),
        ("  read, one core", read, f"{where}.read_bytes_per_s"),
    ]


def _clock(cluster: "CoreCluster") -> str:
    return f" {cluster.max_hz / 1e9:.2g} GHz" if cluster.max_hz else ""


def _size(count: int | None) -> str | None:
    if count is None:
        return None
    for unit, bits in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << bits:
            return f"{count / (1 << bits):.4g} {unit}"
    return f"{count >> 10} KiB"


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.5g} {unit}"
