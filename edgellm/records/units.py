"""Metrics: what each is called, its unit and which way is better; the only place that knows.

A metric's value is in the record's unit (nanoseconds, bytes, counts); ``show`` converts it.
"""

import math
from dataclasses import dataclass

from edgellm.records.samples import (
    BRANCH_MISSES,
    BUS_ACCESSES,
    CYCLES,
    INSTRUCTIONS,
    L1D_REFILLS,
    LLC_REFILLS,
    REFERENCE_CYCLES,
    STALLED_CYCLES,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """How a kind of value is printed, and the words for a change of it.

    ``scale`` is what one printed unit is in the record's unit.
    """

    text: str
    scale: float
    lower_is_better: bool
    better: str
    worse: str


MILLISECONDS = Unit("ms", 1e6, True, "faster", "slower")
MEBIBYTES = Unit("MiB", 2**20, True, "smaller", "larger")
JOULES = Unit("J", 1, True, "less", "more")
TOKENS_PER_S = Unit("tok/s", 1, False, "faster", "slower")
MILLIONS = Unit("M", 1e6, True, "fewer", "more")
PER_CYCLE = Unit("", 1, False, "higher", "lower")
PERPLEXITY = Unit("", 1, True, "better", "worse")
NATS = Unit("nats", 1, True, "better", "worse")
PERCENT = Unit("%", 0.01, False, "better", "worse")


@dataclass(frozen=True, slots=True)
class Metric:
    """A named figure of a report.

    Attributes:
        name: The name in code and JSON; its suffix is the record's unit.
        label: The name in tables.
        exact: The same in every run (a size): a single value decides.
        headline: A limit set by the user (``--fail-slower``) applies to it.
    """

    name: str
    label: str
    unit: Unit
    exact: bool = False
    headline: bool = False

    def show(self, value: float, spread: float | None = None) -> str:
        """Return ``value`` and its spread in the printed unit, to four significant digits.

        >>> METRICS["ttft_ns"].show(22_512_345, 204_000)
        '22.51 ± 0.20 ms'
        """
        value = value / self.unit.scale
        magnitude = math.floor(math.log10(abs(value))) if value else 0
        decimals = min(max(3 - magnitude, 0), 6)
        text = f"{value:.{decimals}f}"
        if spread is not None:
            text += f" ± {spread / self.unit.scale:.{decimals}f}"
        return f"{text} {self.unit.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run; ``per`` is what its figures refer to.

    ``per_token`` stages run once for each token, so their figures are divided by ``tokens``.
    """

    name: str
    label: str
    per: str
    per_token: bool = False


STAGES = (
    Stage("load", "load", "bundle"),
    Stage("tokenize", "tokenize", "prompt"),
    Stage("prefill", "prefill", "prompt"),
    Stage("decode", "decode step", "token", per_token=True),
    Stage("sample", "sample", "token", per_token=True),
    Stage("detokenize", "detokenize", "output"),
)

COUNTER_LABELS = {
    CYCLES: "cycles",
    REFERENCE_CYCLES: "reference cycles",
    INSTRUCTIONS: "instructions",
    STALLED_CYCLES: "stalled cycles",
    L1D_REFILLS: "L1D refills",
    LLC_REFILLS: "last-level refills",
    BRANCH_MISSES: "branch misses",
    BUS_ACCESSES: "bus accesses",
}

QUALITY = {
    "perplexity": Metric("perplexity", "perplexity", PERPLEXITY, exact=True),
    "kl_divergence": Metric("kl_divergence", "KL divergence", NATS, exact=True),
    "top1_agreement": Metric("top1_agreement", "same top-1", PERCENT, exact=True),
}
"""What ``evaluate`` stored in the bundle; quality is the same wherever the bundle runs."""


def parse_share(text: str) -> float | None:
    """Return ``5%`` or ``5`` as 0.05; None for what is no number, or below 0.

    >>> parse_share("5%")
    0.05
    """
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        return None
    return share if 0 <= share < math.inf else None


def stage_metric(stage: str, quantity: str) -> str:
    """Return the name of a stage's metric; ``quantity`` is ``ns`` or a counter's name."""
    return f"{stage}_{quantity}"


def _all() -> tuple[Metric, ...]:
    times = [
        Metric(stage_metric(s.name, "ns"), f"{s.label}, per {s.per}", MILLISECONDS) for s in STAGES
    ]
    counts = [
        Metric(stage_metric(s.name, counter), f"{s.label}, {label} per {s.per}", MILLIONS)
        for counter, label in COUNTER_LABELS.items()
        for s in STAGES
    ]
    return (
        Metric("bundle_bytes", "bundle size", MEBIBYTES, exact=True),
        Metric("peak_rss_bytes", "peak memory", MEBIBYTES),
        Metric("ttft_ns", "TTFT", MILLISECONDS, headline=True),
        Metric("tpot_ns", "TPOT", MILLISECONDS, headline=True),
        Metric("prefill_tokens_per_s", "prefill", TOKENS_PER_S, headline=True),
        Metric("decode_tokens_per_s", "decode", TOKENS_PER_S, headline=True),
        Metric("itl_p50_ns", "ITL p50", MILLISECONDS),
        Metric("itl_p95_ns", "ITL p95", MILLISECONDS),
        Metric("itl_p99_ns", "ITL p99", MILLISECONDS),
        *times,
        *counts,
        Metric("decode_ipc", "IPC of decode", PER_CYCLE),
        Metric("joules_per_token", "energy, per output token", JOULES),
        *QUALITY.values(),
    )


METRICS = {metric.name: metric for metric in _all()}
