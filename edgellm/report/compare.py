"""Decides whether reports may be compared, and what the comparison shows; prints nothing."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgellm.errors import RegressionFound, UsageError
from edgellm.records.metrics import Series, series_of, summarize
from edgellm.records.report import Report
from edgellm.records.samples import (
    CYCLES,
    INSTRUCTIONS,
    REFERENCE_CYCLES,
    CounterInfo,
    Unavailable,
)
from edgellm.records.units import (
    COUNTER_LABELS,
    METRICS,
    MILLISECONDS,
    QUALITY,
    STAGES,
    TOKENS_PER_S,
    Metric,
    stage_metric,
)
from edgellm.report.explain import Explanation, explain
from edgellm.runner import checklist, parity, stats
from edgellm.runner.stats import Interval

MIN_EFFECT = 0.02  # a smaller change is no news, however certain

Verdict = Literal["better", "worse", "no difference shown", "too few samples", "not comparable"]


@dataclass(frozen=True, slots=True)
class Named:
    """A report and the name of its column."""

    name: str
    report: Report


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of one report in the record's unit; ``why`` where it has none."""

    median: float | None
    mad: float | None = None
    n: int = 0
    interval: Interval | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A report against the reference.

    Attributes:
        verdict: What may be said.
        ratio: Candidate / reference; None where one has no value, or the reference is 0.
        interval: 95 % interval of the ratio; None where single values are compared.
        why: For ``not comparable``.
    """

    verdict: Verdict
    ratio: float | None = None
    interval: Interval | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One metric over all reports; ``changes`` has an entry for each but the reference."""

    metric: str
    cells: tuple[Cell, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What reports say beside each other; the first is the reference.

    ``models`` are names, ``bundles`` the beginnings of digests, ``verdicts`` on each run.
    ``machines`` are their names; ``fingerprints`` say what else differs where a bundle ran on
    machines that are not the same, and ``explanations`` what of the times that explains.
    ``interleaved``: every report took turns with the reference, repetition by repetition.
    """

    names: tuple[str, ...]
    models: tuple[str, ...]
    bundles: tuple[str, ...]
    verdicts: tuple[checklist.Word, ...]
    workload: str
    machines: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    interleaved: bool = False
    fingerprints: tuple[str, ...] = ()
    parities: tuple[str, ...] = ()
    explanations: tuple[Explanation, ...] = ()


Look = Callable[[Report], object]

WORKLOAD: Mapping[str, Look] = {
    "prompt tokens": lambda r: r.workload.prompt_tokens,
    "output tokens": lambda r: r.workload.output_tokens,
    "context tokens": lambda r: r.workload.context_tokens,
    "batch": lambda r: r.workload.batch,
    "threads": lambda r: r.workload.threads,
}
MACHINE: Mapping[str, Look] = {
    "board": lambda r: r.environment.board,
    "CPU": lambda r: r.environment.cpu_model,
    "machine": lambda r: r.environment.machine,
    "cores": lambda r: r.environment.cores,
    "affinity": lambda r: r.environment.affinity,
    "memory": lambda r: r.environment.memory_bytes,
    "governor": lambda r: sorted({str(p.governor) for p in r.environment.policies}),
    "kernel": lambda r: r.environment.kernel,
    "onnxruntime": lambda r: r.environment.versions.get("onnxruntime"),
    "firmware": lambda r: [f"{name} {text}" for name, text in r.environment.firmware.items()],
    "features": lambda r: r.environment.features,
    "emulation": lambda r: r.environment.emulation,
}
"""Firmware counts: on equal boards its version alone decided up to 16 % of the rate."""

EXPLAINED = ("prefill", "decode")


def compare(reports: Sequence[Named], *, allow: bool = False) -> Comparison:
    """Compare reports with the first of them.

    Args:
        reports: At least two.
        allow: Compare although conditions differ, or a run was throttled or swapping; the
            differences and the verdicts are in the result.

    Raises:
        UsageError: Fewer than two, or conditions differ so that a verdict would mislead.
    """
    if len(reports) < 2:
        raise UsageError("a comparison needs two reports or more")
    reference, *others = reports
    differences = [line for other in others for line in _differences(reference, other)]
    if differences and not allow:
        raise UsageError(
            f"these reports cannot be compared: {differences[0]}; "
            "measure under equal conditions, or add --allow to see the figures all the same"
        )
    verdicts = [checklist.verdict(named.report) for named in reports]
    return Comparison(
        names=tuple(named.name for named in reports),
        models=tuple(named.report.bundle.name for named in reports),
        bundles=tuple(named.report.bundle.digest[:12] for named in reports),
        verdicts=tuple(verdict.word for verdict in verdicts),
        workload=reference.report.workload.describe(),
        machines=tuple(named.report.environment.name for named in reports),
        differences=tuple(differences),
        notes=tuple(_notes(reports)),
        rows=tuple(_rows(reports, verdicts, allow=allow)),
        interleaved=all(_took_turns(other.report, reference.report) for other in others),
        fingerprints=tuple(
            line
            for other in others
            for line in unequal(MACHINE, reference, other)
            if line not in differences
        ),
        parities=tuple(
            f"{named.name}: {line}"
            for named in reports
            if named.report.parity
            for line in parity.headline(named.report.parity)
        ),
        explanations=tuple(
            explain(reference.name, reference.report, other.name, other.report, stage)
            for other in others
            if unequal(MACHINE, reference, other)
            for stage in EXPLAINED
            if reference.report.stage(stage) and other.report.stage(stage)
        ),
    )


def _took_turns(report: Report, reference: Report) -> bool:
    return (
        report.interleaved is not None
        and report.interleaved == reference.interleaved
        and report.workload.repetitions == reference.workload.repetitions
    )


def _differences(reference: Named, other: Named) -> list[str]:
    """Return what makes a verdict misleading, one sentence each.

    Either the bundle or the machine may differ, because that is the question; not both.
    """
    found = unequal(WORKLOAD, reference, other)
    if reference.report.bundle.digest != other.report.bundle.digest:
        found += unequal(MACHINE, reference, other)
    return found


def unequal(looks: Mapping[str, Look], reference: Named, other: Named) -> list[str]:
    """Return what two reports differ in, one sentence each."""
    return [
        f"{what} is {_plain(a)} in {reference.name} and {_plain(b)} in {other.name}"
        for what, look in looks.items()
        if (a := look(reference.report)) != (b := look(other.report))
    ]


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "unknown"
    return "unknown" if value is None else str(value)


def _notes(reports: Sequence[Named]) -> list[str]:
    """Return what readers should know, each sentence once with the reports that it is about."""
    about: dict[str, list[str]] = {}
    for named in reports:
        for sentence in _sentences(named.report, reports[0]):
            about.setdefault(sentence, []).append(named.name)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in about.items()]


def _sentences(report: Report, reference: Named) -> list[str]:
    first = reference.report
    found = [c.sentence for c in checklist.checks(report) if c.status in ("warn", "fail")]
    found += report.missing()
    if report.workload.prompt_sha256 != first.workload.prompt_sha256:
        found.append("another tokenizer, so the same number of tokens is other text")
    elif set(report.output_sha256) != set(first.output_sha256):
        found.append(f"produced other tokens than {reference.name}")
    return found


def _rows(
    reports: Sequence[Named], verdicts: Sequence[checklist.Verdict], *, allow: bool
) -> list[Row]:
    series = [series_of(named.report) for named in reports]
    first = reports[0].report
    faults = [""] * len(reports) if allow else list(map(_spoilt, reports, verdicts))
    spoilt = [faults[0] or fault for fault in faults[1:]]
    noisy = [not allow and verdict.word == "noisy neighbour" for verdict in verdicts]
    judges = [
        _paired if _took_turns(named.report, first) else _doubtful if noisy[0] or loud else _apart
        for named, loud in zip(reports[1:], noisy[1:], strict=True)
    ]
    rows = []
    for name, metric in METRICS.items():
        found = [values[name] for values in series]
        if all(isinstance(values, Unavailable) for values in found) and name in OPTIONAL:
            continue  # the notes say once that the counter or the sensor is not there
        whys = ["" if metric.exact else why for why in spoilt]
        changes = (
            _change(metric, values, found[0], why or _unlike(name, named.report, first), judge)
            for values, named, why, judge in zip(found[1:], reports[1:], whys, judges, strict=True)
        )
        rows.append(Row(name, tuple(map(_cell, found)), tuple(changes)))
    return rows


COUNTED = {
    stage_metric(stage.name, counter): counter for stage in STAGES for counter in COUNTER_LABELS
} | {"decode_ipc": INSTRUCTIONS}
"""Metrics that come from a counter, and which."""

TIMED = (MILLISECONDS, TOKENS_PER_S)

OPTIONAL = {*COUNTED, "joules_per_token"}
"""Metrics that many machines do not give."""

EVALUATION = ("text", "context_tokens", "stride_tokens", "feeding")
"""What must be equal in two evaluations for their figures to be compared."""


def _counter(report: Report, metric: str) -> CounterInfo | None:
    return next((c for c in report.counters if c.name == COUNTED.get(metric)), None)


def _spoilt(named: Named, verdict: checklist.Verdict) -> str:
    """Return why nothing that a run measured may be compared, or an empty string."""
    if verdict.word not in checklist.INCOMPARABLE:
        return ""
    return f"the run of {named.name} is {verdict.word}: {verdict.reasons[0]}"


def _unlike(metric: str, report: Report, reference: Report) -> str:
    """Return why two values of a metric measure different things, or an empty string."""
    info, first = _counter(report, metric), _counter(reference, metric)
    if info and first and info != first:
        return f"counted differently ({info.source} against {first.source})"
    timed = METRICS[metric].unit in TIMED or COUNTED.get(metric) in (CYCLES, REFERENCE_CYCLES)
    if timed and (report.environment.emulation or reference.environment.emulation):
        return "an emulator's time is no machine's"
    here, there = report.bundle.quality, reference.bundle.quality
    unequal = [key for key in EVALUATION if here.get(key) != there.get(key)]
    if metric in QUALITY and unequal:
        return f"evaluated with another {unequal[0].removesuffix('_tokens')}"
    return ""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """A ratio of samples; ``interval`` is None where the samples are too few."""

    ratio: float
    interval: Interval | None = None
    p: float = 1.0

    @property
    def shown(self) -> bool:
        """The change is large enough, and beyond chance by both tests."""
        return (
            self.interval is not None
            and max(self.ratio, 1 / self.ratio) >= 1 + MIN_EFFECT
            and not self.interval.low <= 1 <= self.interval.high
            and self.p < stats.SIGNIFICANCE
        )


Judge = Callable[[Series, Series], _Evidence]


def _apart(found: Series, reference: Series) -> _Evidence:
    """Judge samples of two runs."""
    ratio = summarize(found).median / summarize(reference).median
    if stats.smallest_p(len(found), len(reference)) >= stats.SIGNIFICANCE:
        return _Evidence(ratio)
    interval = stats.ratio_interval(found, reference)
    return _Evidence(ratio, interval, stats.mann_whitney(found, reference))


def _doubtful(found: Series, reference: Series) -> _Evidence:
    """Judge samples of a run beside which others worked: theirs may be the difference."""
    return dataclasses.replace(_apart(found, reference), p=1.0)


def _paired(found: Series, reference: Series) -> _Evidence:
    """Judge samples that took turns: by their ratios, so that what slows both is left out."""
    ratio = summarize(stats.paired_ratios(found, reference).tolist()).median
    if stats.smallest_paired_p(len(found)) >= stats.SIGNIFICANCE:
        return _Evidence(ratio)
    interval = stats.paired_ratio_interval(found, reference)
    return _Evidence(ratio, interval, stats.wilcoxon(found, reference))


def _cell(found: Series | Unavailable) -> Cell:
    if isinstance(found, Unavailable):
        return Cell(None, why=found.why)
    summary = summarize(found)
    interval = stats.median_interval(found) if summary.n > 1 else None
    return Cell(summary.median, summary.mad if summary.n > 1 else None, summary.n, interval)


def _change(
    metric: Metric,
    found: Series | Unavailable,
    reference: Series | Unavailable,
    unlike: str,
    judge: Judge,
) -> Change:
    if isinstance(found, Unavailable):
        return Change("not comparable", why=found.why)
    if isinstance(reference, Unavailable):
        return Change("not comparable", why=f"the reference has none: {reference.why}")
    if min(*found, *reference) <= 0:
        unlike = "a ratio needs values above 0"
    if unlike:
        return Change("not comparable", why=unlike)
    if metric.exact:
        ratio = summarize(found).median / summarize(reference).median
        return Change(_direction(metric, ratio) if ratio != 1 else "no difference shown", ratio)
    evidence = judge(found, reference)
    if evidence.interval is None:
        return Change("too few samples", evidence.ratio)
    verdict = _direction(metric, evidence.ratio) if evidence.shown else "no difference shown"
    return Change(verdict, evidence.ratio, evidence.interval)


def _direction(metric: Metric, ratio: float) -> Verdict:
    return "better" if (ratio < 1) == metric.unit.lower_is_better else "worse"


def slowdown(metric: Metric, change: Change) -> float | None:
    """Return by what factor a metric became worse (below 1: better); None without a ratio."""
    if change.ratio is None:
        return None
    return change.ratio if metric.unit.lower_is_better else 1 / change.ratio


def require_no_slowdown(comparison: Comparison, limit: float) -> None:
    """Check the headline metrics against a limit.

    Args:
        comparison: What was compared.
        limit: How much slower is still accepted, as a share: 0.05 is 5 %.

    Raises:
        RegressionFound: A headline metric became slower by more, and it is shown, not noise.
        UsageError: A headline metric cannot be judged.
    """
    for row in comparison.rows:
        metric = METRICS[row.metric]
        if not metric.headline:
            continue
        for name, change in zip(comparison.names[1:], row.changes, strict=True):
            factor = slowdown(metric, change)
            if factor is None or change.verdict == "too few samples":
                advice = "bench with --repetitions 5 or more"
                if change.why:
                    advice = "mend that and measure again, or add --allow to judge all the same"
                raise UsageError(
                    f"{metric.label} of {name} cannot be judged ({change.why or change.verdict}): "
                    f"{advice}"
                )
            if change.verdict == "worse" and factor > 1 + limit:
                raise RegressionFound(
                    f"{metric.label} of {name} is {100 * (factor - 1):.1f} % slower than of "
                    f"{comparison.names[0]}, and the limit is {100 * limit:g} %"
                )
