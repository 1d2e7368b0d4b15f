"""What makes a run invalid: each function returns what it found as sentences, or nothing."""

from collections.abc import Mapping, Sequence

from edgellm.measure import throttle
from edgellm.records import metrics
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES
from edgellm.runner import stats

FEW_REPETITIONS = 4  # with fewer on each side no rank test can say "different" at 95 %
SPREAD_LIMIT = 0.03  # of a decode step; a quiet machine stays below it
BUSY_SHARE = 0.5  # load average / cores before the run; our own work is not in it yet
OTHERS_LIMIT = 0.05  # of the cores' time during the run
CLOCK_TOLERANCE = 0.02
HOLDS = ("performance", "userspace")  # governors that leave the clock where it was set


def spread(report: Report) -> list[str]:
    """Find too few repetitions, and a decode that differs between them."""
    found, decode = [], report.stage("decode")
    if report.workload.repetitions < FEW_REPETITIONS:
        found.append(f"{report.workload.repetitions} repetitions cannot show a difference")
    if decode is not None:
        summary = metrics.summarize(decode.wall_ns)
        if summary.mad > SPREAD_LIMIT * summary.median:
            share = 100 * summary.mad / summary.median
            found.append(f"decode varies by {share:.1f} % (MAD) between repetitions")
    return found


def imprecision(report: Report) -> list[str]:
    """Find a median of decode that the repetitions do not tell closely enough."""
    decode = report.stage("decode")
    half = stats.half_width(decode.wall_ns) if decode else 0.0
    return [f"the median of decode is known to ± {100 * half:.1f} %"] if half > SPREAD_LIMIT else []


def swapping(report: Report) -> list[str]:
    """Find memory that went to a disk, or came from one, during the run."""
    used = [report.environment.before.swap_used_bytes, report.environment.after.swap_used_bytes]
    grown, faults = (used[1] or 0) - (used[0] or 0), report.memory.major_faults
    found = [f"{grown / 2**20:.1f} MiB went to swap during the run"] if grown > 0 else []
    used_before = report.workload.warmup  # else they are each page's first use, from the bundle
    if used_before and (faults or 0) > report.workload.repetitions:  # and so is one now and then
        found.append(f"major page faults in the repetitions, which wait for a disk: {faults}")
    return found


def neighbours(report: Report) -> list[str]:
    """Find other programs that used the cores during the run, or before it where that is unknown.

    The load average of a minute still holds the work that came before the run.
    """
    facts, others = report.environment, others_share(report)
    load = facts.before.load_average
    if others is None:
        # Who takes turns is in the load of the others.
        alone = report.interleaved is None
        busy = alone and load is not None and load > BUSY_SHARE * facts.cores
        return [f"the load was {load:.1f} on {facts.cores} cores before the run"] if busy else []
    if others <= OTHERS_LIMIT:
        return []
    return [f"others took {100 * others:.0f} % of the cores' time during the run"]


def others_share(report: Report) -> float | None:
    """Return the share of all cores' time that others had, 0 to 1; None where it is not known.

    Whoever takes turns with this run is no neighbour, and cannot be told from one.
    """
    facts, line = report.environment, report.timeline
    first, last = facts.before.cpu_time, facts.after.cpu_time
    if first is None or last is None or line is None or not line.duration_ns or report.interleaved:
        return None
    stolen = last.stolen_ns - first.stolen_ns
    others = last.busy_ns - first.busy_ns - (last.own_ns - first.own_ns) + stolen
    return max(others, 0) / (facts.cores * line.duration_ns)  # ticks may round below 0


def throttling(report: Report) -> list[str]:
    """Find what the firmware, the kernel's counts and the clock tell of slowing down."""
    samples = report.timeline.samples if report.timeline else ()
    ends = (report.environment.before.throttle, report.environment.after.throttle)
    states = [ends[0], *(sample.throttle for sample in samples), ends[1]]
    return [*_slowed(states), *_fallen(report)]


def _slowed(states: Sequence[Mapping[str, int]]) -> list[str]:
    """A bit says now or since boot; a count says how often since boot."""
    found = []
    for source in dict.fromkeys(name for state in states for name in state):
        values = [state[source] for state in states if source in state]
        grown = max(values) - values[0]
        if source == throttle.FIRMWARE:
            seen = 0
            for bits in values:
                seen |= bits | (bits & ~values[0]) >> throttle.SINCE_BOOT
            words = [word for bit, word in throttle.BITS.items() if seen >> bit & 1]
            found += [f"the firmware reported: {', '.join(words)}"] if words else []
        elif source == throttle.ALARM:
            found += [f"there was an {source}"] if any(values) else []
        elif grown > 0:
            found.append(f"{grown} {source} during the run")
    return found


def _fallen(report: Report) -> list[str]:
    """A clock that its governor holds falls only where something else forces it."""
    found, samples = [], report.timeline.samples if report.timeline else ()
    for policy in report.environment.policies:
        clock = [s.frequency_hz[policy.name] for s in samples if policy.name in s.frequency_hz]
        if policy.governor in HOLDS and clock and min(clock) < (1 - CLOCK_TOLERANCE) * clock[0]:
            ends = f"{clock[0] / 1e9:.2f} to {min(clock) / 1e9:.2f} GHz"
            found.append(f"the clock of {policy.name} fell from {ends}")
    return found


def slow_clock(report: Report) -> list[str]:
    """Find a core that runs below what cpufreq claims; the kernel's cycles must be counted."""
    info, found = report.counted(CYCLES), clocks(report)
    if found is None or info is None or info.exclude_kernel:
        return []
    measured, claimed = found
    if measured >= (1 - CLOCK_TOLERANCE) * claimed:
        return []
    return [f"decode ran at {measured / 1e9:.2f} GHz while cpufreq claims {claimed / 1e9:.2f} GHz"]


def clocks(report: Report) -> tuple[float, float] | None:
    """Return measured and claimed clock in Hz, of one thread on a real core; else None.

    The measured clock is hardware cycles of decode over its time; a thread that waits lowers it.
    """
    facts, info, decode = report.environment, report.counted(CYCLES), report.stage("decode")
    if facts.virtual or facts.emulation or report.workload.threads != 1:
        return None
    policies = [p.name for p in facts.policies if set(p.cpus) & set(facts.affinity)]
    if info is None or info.emulated or decode is None or len(policies) != 1:
        return None
    if CYCLES not in decode.counters:
        return None
    samples = report.timeline.samples if report.timeline else ()
    readings = [s.frequency_hz for s in samples]
    readings += [facts.before.frequency_hz, facts.after.frequency_hz]
    claimed = [hz[policies[0]] for hz in readings if policies[0] in hz]
    counts = [metrics.scaled(sample) for sample in decode.counters[CYCLES]]
    pairs = zip(counts, decode.wall_ns, strict=True)
    rates = [count * metrics.SECOND_NS / ns for count, ns in pairs if count is not None and ns]
    if not rates or not claimed:
        return None
    return metrics.summarize(rates).median, metrics.summarize(claimed).median
