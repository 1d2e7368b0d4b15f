"""Whether a run may be believed: twenty checks and one verdict, computed on reading.

The rows are what trusted benchmarks do: MLPerf (1 to 5), llama-bench (6, 7, 17, 18), sbc-bench
(8 to 11, 19, 20), google/benchmark and pyperf (12 to 14), onnxruntime and openvino.genai (15, 16).
A check fails where the verdict depends on it; a warning says what to know, or what to do better.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgellm.records import metrics
from edgellm.records.breakdown import breakdown
from edgellm.records.report import Report
from edgellm.records.samples import Unavailable
from edgellm.runner import faults, stats

Status = Literal["pass", "warn", "fail", "unknown", "not applicable"]
Word = Literal["valid", "unstable", "throttled", "swapping", "noisy neighbour"]
Judged = tuple[Status, str]

STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "unknown", "not applicable")
SHOWN = ("warn", "fail", "unknown")
INCOMPARABLE: tuple[Word, ...] = ("throttled", "swapping")
COOLED_CELSIUS = 5.0  # a run that ends so much cooler began with another's heat
OLD = "not recorded, as in reports of an older version: bench again"
QUALITY = ("top1_agreement", "kl_divergence")


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the checklist.

    Attributes:
        number: 1 to 20.
        name: What is checked.
        status: What came of it; what the report does not hold is ``unknown``, never a pass.
        sentence: The figure and, where it is no pass, advice.
    """

    number: int
    name: str
    status: Status
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One word on a run; ``reasons`` is empty where it is valid."""

    word: Word
    reasons: tuple[str, ...] = ()


FAULTS: Mapping[Word, Callable[[Report], list[str]]] = {
    "throttled": lambda r: faults.throttling(r) + faults.slow_clock(r),
    "swapping": faults.swapping,
    "noisy neighbour": faults.neighbours,
    "unstable": lambda r: faults.spread(r) + faults.imprecision(r),
}
"""What makes a run invalid, the gravest first."""


def verdict(report: Report) -> Verdict:
    """Return the gravest word that applies to a run, and all its reasons."""
    for word, find in FAULTS.items():
        reasons = find(report)
        if reasons:
            return Verdict(word, tuple(reasons))
    return Verdict("valid")


def checks(report: Report) -> tuple[Check, ...]:
    """Return the twenty checks in order."""
    return tuple(
        Check(number, name, *judge(report)) for number, (name, judge) in enumerate(ROWS.items(), 1)
    )


def render_checks(report: Report, *, every: bool = False) -> list[str]:
    """Return verdict, counts and rows as lines.

    Args:
        report: Of a bench run.
        every: Show also the rows that passed and those that do not apply.
    """
    found, all_rows = verdict(report), checks(report)
    counts = Counter(check.status for check in all_rows)
    because = f" ({'; '.join(found.reasons)})" if found.reasons else ""
    return [
        f"verdict: {found.word}{because}",
        "checklist: " + ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s]),
        *(
            f"{check.number:2} {check.status}: {check.name}: {check.sentence}"
            for check in all_rows
            if every or check.status in SHOWN
        ),
    ]


def _recorded(report: Report) -> bool:
    """Whether the report is of a version that records what schema 2 added."""
    return bool(report.start_ns or report.boundary_ns)


def _failed(found: list[str], advice: str) -> Judged | None:
    return ("fail", f"{'; '.join(found)}: {advice}") if found else None


def _length(report: Report) -> Judged:
    decode = report.stage("decode")
    if decode is None:
        return "not applicable", "no decode step was run"
    failed = _failed(faults.imprecision(report), "use a longer --time-limit or more --repetitions")
    seconds = sum(sum(stage.wall_ns) for stage in report.stages if stage.stage != "load") / 1e9
    half = 100 * stats.half_width(decode.wall_ns)
    return failed or ("pass", f"{seconds:.1f} s tell the median of decode to ± {half:.1f} %")


def _tails(report: Report) -> Judged:
    series = metrics.series_of(report)
    if report.stage("decode") is None:
        return "not applicable", "no decode step was run"
    tails = [series[f"itl_p{percent}_ns"] for percent in (95, 99)]
    short = [tail.why for tail in tails if isinstance(tail, Unavailable)]
    if short:
        return "warn", f"{'; '.join(short)}: use more --output-tokens or --repetitions"
    return "pass", "enough gaps between tokens for p95 and p99"


def _accuracy(report: Report) -> Judged:
    quality = report.bundle.quality
    told = [f"{name} {quality[name]:.4g}" for name in QUALITY if name in quality]
    if told:
        return "pass", f"against the reference: {', '.join(told)}"
    state = "evaluated without a reference" if quality else "not evaluated before bundling"
    return "warn", f"{state}, so speed may have cost quality: edgellm evaluate DIR --against REF"


def _replicable(report: Report) -> Judged:
    return "pass", (
        f"edgellm {report.tool_version}, bundle {report.bundle.digest[:12]}, "
        f"prompt {report.workload.prompt_sha256[:12]}, raw samples kept"
    )


def _power(report: Report) -> Judged:
    energy = metrics.series_of(report)["joules_per_token"]
    if not isinstance(energy, Unavailable):
        return "pass", "measured in the same run as the times"
    if report.timeline is None:
        return "unknown", OLD
    if metrics.energy_rail(report) is None:
        return "not applicable", f"no energy is claimed: {energy.why}"
    return "warn", f"{energy.why}: use longer repetitions"


def _repetitions(report: Report) -> Judged:
    workload = report.workload
    told = f"{workload.repetitions} repetitions after {workload.warmup} warm-up"
    failed = _failed(
        faults.spread(report),
        f"quieten the machine, or use --repetitions {faults.FEW_REPETITIONS} or more",
    )
    if failed or workload.warmup:
        return failed or ("pass", told)
    return "warn", f"{told}, so the first may be slower: use --warmup 1"


def _depth(report: Report) -> Judged:
    if report.stage("decode") is None:
        return "not applicable", "no decode step was run"
    if report.depths:
        return "pass", f"decode after {', '.join(str(d.context_tokens) for d in report.depths)}"
    if not _recorded(report):
        return "unknown", OLD
    tokens = report.workload.prompt_tokens
    return "warn", f"decode was measured after {tokens} tokens only: use --depth 0,512"


def _quiet(report: Report) -> Judged:
    failed = _failed(faults.swapping(report), "use a smaller model or context, or free memory")
    failed = failed or _failed(faults.neighbours(report), "stop other work and measure again")
    load, others = report.environment.before.load_average, faults.others_share(report)
    if failed:
        return failed
    if load is None or others is None or report.memory.major_faults is None:
        return "unknown", "load, others' time or waits for memory were not recorded: bench again"
    return "pass", f"load {load:.1f} before, others took {100 * others:.1f} % of the cores, no swap"


def _clock(report: Report) -> Judged:
    facts, threads = report.environment, report.workload.threads
    failed = _failed(faults.slow_clock(report), "cool the machine or mend its supply")
    if failed:
        return failed
    if facts.emulation or facts.virtual:
        return "not applicable", "the clock of an emulated or virtual core is not its own"
    found = faults.clocks(report)
    if found is None:
        why = "" if threads == 1 else f" and one thread, not {threads}"
        return "unknown", f"needs hardware cycles{why}, and one cpufreq policy: use --threads 1"
    measured, claimed = found
    told = f"decode ran at {measured / 1e9:.3f} GHz, and cpufreq claims {claimed / 1e9:.3f}"
    if measured < (1 - faults.CLOCK_TOLERANCE) * claimed:
        return "unknown", f"{told}; cycles of the kernel are not counted: allow them to perf"
    return "pass", told


def _log(report: Report) -> Judged:
    failed = _failed(faults.throttling(report), "cool the machine or mend its supply")
    if failed:
        return failed
    if report.timeline is None:
        return "unknown", OLD
    samples = report.timeline.samples
    told = [
        what
        for what, known in (
            ("clock", any(s.frequency_hz for s in samples)),
            ("temperature", any(s.temperature_celsius for s in samples)),
            ("throttling", any(s.throttle for s in samples)),
        )
        if known
    ]
    if "clock" in told or "throttling" in told:
        return "pass", f"{len(samples)} samples of {', '.join(told)}, and nothing slowed it down"
    return "unknown", "the kernel tells neither clock nor throttling: measure on the board itself"


def _cores(report: Report) -> Judged:
    facts, threads = report.environment, report.workload.threads
    if threads > len(facts.affinity):
        cores = "1 core" if len(facts.affinity) == 1 else f"{len(facts.affinity)} cores"
        return "warn", f"{threads} threads share {cores}: use --threads with that many or fewer"
    used = [p for p in facts.policies if set(p.cpus) & set(facts.affinity)]
    speeds = {p.max_hz for p in used}
    if not used:
        return "unknown", "the kernel offers no cpufreq here, so clusters are not known"
    if len(speeds) > 1:
        names = ", ".join(p.name for p in used)
        return "warn", f"cores of unlike speed ({names}) shared the work: pin to one with --cpus"
    return "pass", f"{threads} threads on {len(facts.affinity)} cores of one speed"


def _interleaved(report: Report) -> Judged:
    if report.interleaved:
        return "pass", "its repetitions took turns with another bundle's"
    if report.environment.virtual:
        return "warn", (
            "this is a virtual machine, whose cores others may use: "
            "compare only runs that were made side by side"
        )
    if not _recorded(report):
        return "unknown", OLD
    return "not applicable", "a run alone"


def _scaling(report: Report) -> Judged:
    policies = report.environment.policies
    free = [p for p in policies if p.governor not in (None, *faults.HOLDS)]
    if free:
        return "warn", (
            f"the governor of {free[0].name} is {free[0].governor!r}, so the clock may change "
            "while measuring: sudo cpupower frequency-set -g performance"
        )
    if not policies or any(p.governor is None for p in policies):
        return "unknown", "the kernel does not tell how it sets the clock: measure on the board"
    return "pass", f"the governor is {policies[0].governor!r}"


def _counters(report: Report) -> Judged:
    facts = report.environment
    if facts.emulation:
        return "warn", (
            f"the processor is emulated ({facts.emulation}): times and cycles are the emulator's, "
            "so measure on the board"
        )
    emulated = [info.name for info in report.counters if info.emulated]
    if emulated:
        return "warn", f"{', '.join(emulated)} are the emulator's counts: measure on the board"
    if not report.counters:
        return "not applicable", "nothing was counted"
    share = metrics.multiplexed(report)
    if share > 0:
        return "warn", (
            f"a counter ran for only {100 * (1 - share):.0f} % of the time and its counts (~) are "
            "estimates: stop other users of the counters"
        )
    return "pass", "counters ran all the time and were read with the clock"


def _views(report: Report) -> Judged:
    views = report.views
    for phase in views.staged.phases if views.staged else ():
        found = breakdown(report, phase)
        if found.excess is not None and not found.representative:
            return "warn", (
                f"the stages of {phase.phase} add up to {100 * found.excess:+.1f} % against the "
                "whole, so their shares are rough: quieten the machine"
            )
    if views.staged or views.profiled:
        return "pass", "stages and operators were measured apart; no time above is theirs"
    if not _recorded(report):
        return "unknown", OLD
    return "not applicable", "nothing was cut or profiled"


def _output(report: Report) -> Judged:
    digests = set(report.output_sha256)
    if len(digests) > 1:
        return "warn", (
            "the repetitions did not produce the same tokens, though nothing differed: "
            "measure with --threads 1 and report it if that differs too"
        )
    if not digests:
        return "unknown", "no digest of the output was kept: bench again"
    return "pass", f"every repetition produced {next(iter(digests))[:12]}, without a prefix cache"


def _cooled(report: Report) -> Judged:
    before = report.environment.before.temperature_celsius
    after = report.environment.after.temperature_celsius
    rises = {zone: after[zone] - before[zone] for zone in before.keys() & after.keys()}
    if not rises:
        return "unknown", "the kernel tells no temperature: wait between runs"
    zone = min(rises, key=lambda name: (rises[name], name))
    told = f"{zone} went from {before[zone]:.1f} to {after[zone]:.1f} C"
    if rises[zone] < -COOLED_CELSIUS:
        return "warn", f"{told}, so it was hot from other work: let it cool and measure again"
    return "pass", told


def _excluded(report: Report) -> Judged:
    if not report.memory.clean_peak:
        return "warn", (
            "the kernel did not let the memory peak be reset, so it covers the whole process: "
            "measure in a fresh process"
        )
    return "pass", "TTFT is tokenize, prefill and the first sample; loading stands by itself"


def _fingerprint(report: Report) -> Judged:
    facts = report.environment
    if not facts.features:
        return "unknown", f"the processor's features: {OLD}"
    known = {
        "processor": facts.board or facts.cpu_model,
        "memory": facts.memory_bytes,
        "onnxruntime": facts.versions.get("onnxruntime"),
    }
    gaps = [name for name, value in known.items() if value is None]
    if gaps:
        return "warn", f"{', '.join(gaps)} could not be read: note it beside the figures"
    return "pass", "recorded; note supply, cooling and room temperature, which no software sees"


def _roofs(report: Report) -> Judged:
    if report.roofs:
        return "pass", "bandwidth and arithmetic were probed after the run"
    if not _recorded(report):
        return "unknown", OLD
    return "warn", "the machine's bandwidth was not probed: bench without --quick"


ROWS: Mapping[str, Callable[[Report], Judged]] = {
    "run length": _length,
    "tail percentiles": _tails,
    "accuracy beside speed": _accuracy,
    "replicable": _replicable,
    "power": _power,
    "warm-up and repetitions": _repetitions,
    "depth": _depth,
    "idle machine, no swapping": _quiet,
    "measured clock": _clock,
    "log of the machine": _log,
    "cores": _cores,
    "taking turns": _interleaved,
    "CPU scaling": _scaling,
    "counters": _counters,
    "profiled time apart": _views,
    "same output": _output,
    "cool-down": _cooled,
    "what is in the figures": _excluded,
    "fingerprint": _fingerprint,
    "roofs": _roofs,
}
