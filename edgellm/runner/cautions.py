"""What makes a report's figures less certain: one rule each, one sentence that ends in advice."""

from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.records import metrics
from edgellm.records.report import Report

FEW_REPETITIONS = 4  # with fewer on each side no rank test can say "different" at 95 %
SPREAD_LIMIT = 0.03  # MAD / median of a decode step; a quiet machine stays below it
BUSY_SHARE = 0.5  # load average / cores before the run; our own work is not in it yet


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that makes figures less certain; the sentence ends in advice."""

    code: str
    sentence: str


def of(report: Report) -> tuple[Caution, ...]:
    """Return the cautions of a report."""
    return (*_machine(report), *_samples(report), *_process(report))


def _process(report: Report) -> Iterator[Caution]:
    if not report.memory.clean_peak:
        yield Caution(
            "peak_not_reset",
            "the kernel did not let the memory peak be reset, so it covers the whole process: "
            "measure in a fresh process",
        )


def _machine(report: Report) -> Iterator[Caution]:
    facts = report.environment
    before, after = facts.before, facts.after
    if facts.virtual:
        yield Caution(
            "virtual_machine",
            "this is a virtual machine, whose cores others may use: "
            "compare only runs that were made side by side",
        )
    scaled = [p for p in facts.policies if p.governor not in (None, "performance")]
    if scaled:
        yield Caution(
            "cpu_scaling",
            f"the governor of {scaled[0].name} is {scaled[0].governor!r}, so the clock may change "
            "while measuring: sudo cpupower frequency-set -g performance",
        )
    if before.load_average is not None and before.load_average > BUSY_SHARE * facts.cores:
        yield Caution(
            "busy_machine",
            f"the load was {before.load_average:.1f} on {facts.cores} cores before the run began: "
            "stop other work and measure again",
        )
    swapped = (after.swap_used_bytes or 0) - (before.swap_used_bytes or 0)
    if swapped > 0:
        yield Caution(
            "swapping",
            f"{swapped / 2**20:.1f} MiB went to swap during the run: "
            "use a smaller model or context, or free memory",
        )
    if report.workload.threads > len(facts.affinity):
        yield Caution(
            "too_many_threads",
            f"{report.workload.threads} threads share {len(facts.affinity)} cores: "
            "use --threads with that many or fewer",
        )


def _samples(report: Report) -> Iterator[Caution]:
    if report.workload.repetitions < FEW_REPETITIONS:
        yield Caution(
            "few_repetitions",
            f"{report.workload.repetitions} repetitions cannot show a difference to another "
            f"report: use --repetitions {FEW_REPETITIONS} or more",
        )
    decode = report.stage("decode")
    if decode is not None:
        summary = metrics.summarize(decode.wall_ns)
        if summary.mad > SPREAD_LIMIT * summary.median:
            yield Caution(
                "spread",
                f"decode varies by {100 * summary.mad / summary.median:.0f} % (MAD) between "
                "repetitions: quieten the machine or use more --repetitions",
            )
    if len(set(report.output_sha256)) > 1:
        yield Caution(
            "output_differs",
            "the repetitions did not produce the same tokens, though nothing differed: "
            "measure with --threads 1 and report it if that differs too",
        )
    share = metrics.multiplexed(report)
    if share > 0:
        yield Caution(
            "multiplexed",
            f"a counter ran for only {100 * (1 - share):.0f} % of the time and its counts (~) are "
            "estimates: stop other users of the counters",
        )
