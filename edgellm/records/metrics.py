"""Figures of a report, computed from its raw samples each time they are asked for.

Definitions:
    TTFT: tokenize + prefill + first sample. Loading is not in it.
    ITL: the gap between two output tokens: a decode step and the sampling after it.
    TPOT: mean gap of one repetition, (end - first token) / (output_tokens - 1).
    prefill tok/s: prompt_tokens / prefill. decode tok/s: 1 / TPOT, so sampling counts.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgellm.records.energy import joules_between
from edgellm.records.machine import PowerRail
from edgellm.records.report import Report
from edgellm.records.samples import CYCLES, INSTRUCTIONS, CounterSample, StageSamples, Unavailable
from edgellm.records.units import METRICS, QUALITY, STAGES, stage_metric

Series = tuple[float, ...]
"""One value per repetition, or a single value where the whole run gives one."""

SECOND_NS = 1e9


@dataclass(frozen=True, slots=True)
class Summary:
    """Median of a series and the median of the distances from it (MAD)."""

    median: float
    mad: float
    n: int


def summarize(series: Sequence[float]) -> Summary:
    """Return the median and MAD of a non-empty series, in the series' unit."""
    median = statistics.median(series)
    return Summary(median, statistics.median(abs(x - median) for x in series), len(series))


def percentile(samples: Sequence[float], percent: int) -> float | Unavailable:
    """Return a percentile, or why there is none: ``n`` samples resolve no tail below 1/n.

    >>> percentile(range(101), 95)
    95.0
    """
    needed = math.ceil(100 / (100 - percent))
    if len(samples) < needed:
        return Unavailable(f"p{percent}", f"p{percent} needs {needed} gaps, got {len(samples)}")
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


def scaled(sample: CounterSample) -> float | None:
    """Return the count, estimated where the counter was multiplexed; None if it never ran."""
    if sample.running_ns == sample.enabled_ns:
        return sample.value
    if sample.running_ns == 0:
        return None
    return sample.value * sample.enabled_ns / sample.running_ns


def counts(samples: Sequence[CounterSample]) -> tuple[float, ...] | None:
    """Return the counts of all repetitions; None if the counter never ran in one of them."""
    found = [count for sample in samples if (count := scaled(sample)) is not None]
    return tuple(found) if len(found) == len(samples) else None


def multiplexed(report: Report) -> float:
    """Return the largest share of time, 0 to 1, in which a counter did not run."""
    samples = (
        sample
        for stage in report.stages
        for series in stage.counters.values()
        for sample in series
        if sample.enabled_ns
    )
    return max((1 - s.running_ns / s.enabled_ns for s in samples), default=0.0)


def series_of(report: Report) -> dict[str, Series | Unavailable]:
    """Return every metric of ``records.units`` with its values, or why it has none."""
    found: dict[str, Series | Unavailable] = {"bundle_bytes": (float(report.bundle.bytes),)}
    if report.memory.peak_rss_bytes is not None:
        found["peak_rss_bytes"] = (float(report.memory.peak_rss_bytes),)
    found |= _latencies(report)
    for stage in report.stages:
        found |= _stage(stage)
    found |= _ipc(report)
    found["joules_per_token"] = _energy(report)
    found |= _quality(report.bundle.quality)
    return {name: found.get(name) or _missing(report, name) for name in METRICS}


def _latencies(report: Report) -> dict[str, Series | Unavailable]:
    tokenize, prefill = report.stage("tokenize"), report.stage("prefill")
    decode, sample = report.stage("decode"), report.stage("sample")
    if not (tokenize and prefill and decode and sample):
        return {}
    first = [steps[0] for steps in sample.step_ns]
    gaps = [
        [step + choice for step, choice in zip(steps, choices[1:], strict=True)]
        for steps, choices in zip(decode.step_ns, sample.step_ns, strict=True)
    ]
    together = zip(tokenize.wall_ns, prefill.wall_ns, first, strict=True)
    tpot = tuple(statistics.fmean(of_repetition) for of_repetition in gaps)
    found: dict[str, Series | Unavailable] = {
        "ttft_ns": tuple(float(sum(parts)) for parts in together),
        "tpot_ns": tpot,
        "prefill_tokens_per_s": tuple(prefill.tokens * SECOND_NS / ns for ns in prefill.wall_ns),
        "decode_tokens_per_s": tuple(SECOND_NS / ns for ns in tpot),
    }
    every = [gap for of_repetition in gaps for gap in of_repetition]
    for percent in (50, 95, 99):
        value = percentile(every, percent)
        found[f"itl_p{percent}_ns"] = value if isinstance(value, Unavailable) else (value,)
    return found


def _share(stage: StageSamples) -> int:
    """Return what a stage's totals are divided by: its tokens, if it runs once per token."""
    return stage.tokens if any(s.per_token and s.name == stage.stage for s in STAGES) else 1


def _stage(stage: StageSamples) -> dict[str, Series | Unavailable]:
    share = _share(stage)
    found: dict[str, Series | Unavailable] = {
        stage_metric(stage.stage, "ns"): tuple(ns / share for ns in stage.wall_ns)
    }
    for counter, samples in stage.counters.items():
        name = stage_metric(stage.stage, counter)
        whole = counts(samples)
        if whole is not None:
            found[name] = tuple(count / share for count in whole)
        else:
            found[name] = Unavailable(
                name, "the counter never ran in a repetition: other programs hold the hardware's"
            )
    return found


def _ipc(report: Report) -> dict[str, Series | Unavailable]:
    decode = report.stage("decode")
    if not decode or not {CYCLES, INSTRUCTIONS} <= set(decode.counters):
        why = "needs hardware cycles and instructions, counted together"
        return {"decode_ipc": Unavailable("decode_ipc", why)}
    if any(info.emulated for info in report.counters):
        return {"decode_ipc": Unavailable("decode_ipc", "an emulator's cycles are of no core")}
    if multiplexed(report) > 0:
        return {"decode_ipc": Unavailable("decode_ipc", "the counters were multiplexed")}
    pairs = zip(decode.counters[INSTRUCTIONS], decode.counters[CYCLES], strict=True)
    return {"decode_ipc": tuple(top.value / bottom.value for top, bottom in pairs)}


def energy_rail(report: Report) -> PowerRail | None:
    """Return the rail that energy is taken from: the first that is no part of another."""
    rails = report.timeline.rails if report.timeline else ()
    return next((rail for rail in rails if "/" not in rail.name), None)


def _energy(report: Report) -> Series | Unavailable:
    """Energy of the decode steps and the sampling between them, for each of their tokens."""
    name, rail = "joules_per_token", energy_rail(report)
    decode, sample = report.stage("decode"), report.stage("sample")
    before = [report.stage("tokenize"), report.stage("prefill")]
    if rail is None:
        why = "this machine has no sensor of power or energy that could be read"
        return Unavailable(name, why)
    if decode is None or sample is None or None in before:
        return Unavailable(name, "no decode step was run")
    joules = []
    for i, start in enumerate(report.start_ns):
        first = start + sum(stage.wall_ns[i] for stage in before if stage) + sample.step_ns[i][0]
        end = first + decode.wall_ns[i] + sum(sample.step_ns[i][1:])
        joules.append(joules_between(rail, first, end))
    whole = [value / decode.tokens for value in joules if value is not None]
    if not whole or len(whole) < len(joules):
        return Unavailable(name, f"{rail.name} was not read around every repetition")
    return tuple(whole)


def _quality(quality: Mapping[str, object]) -> dict[str, Series | Unavailable]:
    return {
        name: (float(value),)
        for name in QUALITY
        if isinstance(value := quality.get(name), (int, float))
    }


def _missing(report: Report, name: str) -> Unavailable:
    """Return the recorded reason for a metric without values, or the nearest true one."""
    names = {name, *(name.removeprefix(f"{stage.name}_") for stage in STAGES)}
    for gap in report.unavailable:
        if gap.what in names:
            return Unavailable(name, gap.why)
    if name in QUALITY:
        return Unavailable(name, _not_evaluated(report.bundle.quality))
    return Unavailable(name, "not measured in this run")


def _not_evaluated(quality: Mapping[str, object]) -> str:
    return "evaluated without a reference" if quality else "not evaluated before bundling"
