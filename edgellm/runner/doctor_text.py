"""What ``doctor`` found, as one screen of text."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from edgellm.measure.power import POWER
from edgellm.records.machine import FrequencyPolicy
from edgellm.records.samples import Unavailable
from edgellm.runner.doctor import Diagnosis

COLUMNS = 100
CONTINUED = 2
NO_SENSOR = "not known: the kernel passes on no sign of it here"


def render(found: Diagnosis) -> str:
    """Return the diagnosis for people: a line for each thing, then advice."""
    rows = [(label, list(lines)) for label, lines in _rows(found)]
    margin = max(len(label) for label, _ in rows) + 2
    text = []
    for label, lines in rows:
        wrapped = "\n".join(_wrapped(line, margin) for line in lines)
        text.append(label.ljust(margin) + wrapped.lstrip())
    # Advice holds commands, which are copied: it is not wrapped.
    advice = [f"- {sentence}" for sentence in found.advice] or ["nothing to mend"]
    return "\n".join([*text, "", *advice])


def _wrapped(line: str, margin: int) -> str:
    return textwrap.fill(
        line,
        COLUMNS,
        initial_indent=" " * margin,
        subsequent_indent=" " * (margin + CONTINUED),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _rows(found: Diagnosis) -> Iterator[tuple[str, Sequence[str]]]:
    facts, state = found.environment, found.environment.before
    missing = {gap.what: gap for gap in found.unsaid}
    yield "machine", [_machine(found)]
    yield "features", [" ".join(facts.features) or "none that decides a kernel"]
    yield "counters", [*_counters(found)]
    yield "clock", [*_clock(found, missing.get("governor and frequency"))]
    heat = [f"{zone} {value:.1f} °C" for zone, value in state.temperature_celsius.items()]
    yield "temperature", [", ".join(heat) or _not(missing.get("temperature"))]
    yield "throttling", [_throttling(found)]
    yield "power", [*_power(found)]
    yield "memory", [_memory(found)]
    load = "not known" if state.load_average is None else f"{state.load_average:.2f}"
    usable = len(facts.affinity)
    yield "load", [f"{load} on {facts.cores} cores, {usable} of them for this process"]
    yield "packages", [*_packages(found)]


def _machine(found: Diagnosis) -> str:
    facts = found.environment
    kind = " (virtual machine)" if facts.virtual and not facts.emulation else ""
    core = facts.cpu_model or "unknown core"
    core = "" if core in facts.name else f", {core}"
    return f"{facts.name}{core}, {facts.machine}, Linux {facts.kernel}{kind}"


def _counters(found: Diagnosis) -> Iterator[str]:
    for counter in found.counters:
        rate = f", {counter.rate_hz / 1e6:.3f} MHz" if counter.rate_hz else ""
        yield f"{counter.name.replace('_', ' ')}: {counter.source}{rate}"
    if not found.counters:
        yield "none: time alone is measured"
    yield from _by_reason((f"no {gap.what}".replace("_", " "), gap.why) for gap in found.uncounted)
    level = "not known" if found.paranoid is None else str(found.paranoid)
    yield f"perf_event_paranoid: {level}"


def _by_reason(gaps: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Say each reason once, after all that it holds for."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, why in gaps:
        names[why].append(name)
    for why, those in names.items():
        yield f"{', '.join(those)}: {why}"


def _clock(found: Diagnosis, gap: Unavailable | None) -> Iterator[str]:
    now = found.environment.before.frequency_hz
    for policy in found.environment.policies:
        yield _policy(policy, now.get(policy.name))
    if gap is not None:
        claimed = "".join(f"{hz / 1e6:.0f} MHz by {name}; " for name, hz in now.items())
        yield claimed + _not(gap)


def _policy(policy: FrequencyPolicy, now_hz: int | None) -> str:
    cpus = f"cores {policy.cpus[0]}-{policy.cpus[-1]}" if policy.cpus else "no core"
    low, high, now = (
        "?" if hz is None else f"{hz / 1e6:.0f}" for hz in (policy.min_hz, policy.max_hz, now_hz)
    )
    return f"{policy.name} ({cpus}): {policy.governor or 'no governor'}, {now} MHz of {low}-{high}"


def _throttling(found: Diagnosis) -> str:
    if found.throttle:
        return ", ".join(found.throttle)
    sources = ", ".join(found.environment.before.throttle)
    return f"none ({sources})" if sources else NO_SENSOR


def _power(found: Diagnosis) -> Iterator[str]:
    for sensor in found.power:
        now = "energy" if sensor.watts is None else f"{sensor.watts:.2f} W"
        yield f"{sensor.name}: {now}; {sensor.source}"
    for gap in found.unpowered:
        name = gap.what.removeprefix(POWER).strip()
        yield f"{name}: {_not(gap)}" if name else _not(gap)


def _memory(found: Diagnosis) -> str:
    facts, state = found.environment, found.environment.before
    installed, available, swapped = (
        "not known" if size is None else f"{size / 2**20:.0f} MiB"
        for size in (facts.memory_bytes, state.memory_available_bytes, state.swap_used_bytes)
    )
    return f"{installed}, {available} available, {swapped} in swap"


def _packages(found: Diagnosis) -> Iterator[str]:
    there = [
        f"{package.package} {package.version}" for package in found.packages if package.version
    ]
    if there:
        yield ", ".join(there)
    yield from _by_reason((p.package, p.problem) for p in found.packages if p.problem)


def _not(gap: Unavailable | None) -> str:
    return f"not measured: {gap.why}" if gap else "not measured"
