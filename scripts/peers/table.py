"""Raw samples to a Markdown table: medians, their spread, and ratios against the peer's best."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cases import CASES, Case

Sample = Mapping[str, Any]
Value = Callable[[Sample], float]
MIB = 1 << 20


def speed(stage: str, prompt_tokens: int) -> Value:
    """Return a function from a sample to tokens per second of a stage."""

    def value(sample: Sample) -> float:
        run = next(r for r in sample["runs"] if r["prompt_tokens"] == prompt_tokens)
        tokens = prompt_tokens if stage == "prefill" else len(run["output"]) - 1
        return float(tokens / run[stage]["wall_ns"] * 1e9)

    return value


def rss_mib(sample: Sample) -> float:
    """Return the sample's peak memory in MiB."""
    return float(sample["peak_rss_bytes"] / MIB)


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the median absolute deviation from it."""
    middle = statistics.median(values)
    return middle, statistics.median(abs(value - middle) for value in values)


def render(record: Mapping[str, Any]) -> str:
    """Return the page of a record that ``bench_peers`` wrote."""
    columns = _columns(record["settings"]["prompt_tokens"])
    parts = [_head(record)]
    for threads in record["settings"]["threads"]:
        parts += [f"## Threads: {threads}", _rows(record, threads, columns)]
    parts += ["## Ratios", _RATIO_NOTE, _ratios(record, columns)]
    return "\n\n".join(parts) + "\n"


_RATIO_NOTE = (
    "edgellm divided by the peer, medians; for each column the better of the peer's rows. "
    "Speed: above 1 is faster. Memory, file and perplexity: below 1 is smaller or better."
)


def _columns(prompts: Sequence[int]) -> dict[str, Value]:
    return {
        **{f"prefill {n}, tok/s": speed("prefill", n) for n in prompts},
        **{f"decode @{n}, tok/s": speed("decode", n) for n in prompts},
        "peak memory, MiB": rss_mib,
    }


def _head(record: Mapping[str, Any]) -> str:
    machine, settings = record["machine"], record["settings"]
    prompts = " and ".join(map(str, settings["prompt_tokens"]))
    rounds = len({sample["round"] for sample in record["samples"]})
    return f"""# Against other engines

Written by `scripts/bench_peers` from `{settings["source"]}`; the raw samples are beside it as JSON.

- {machine["cpu"]}, {machine["cores"]} cores, {machine["memory_bytes"] >> 30} GiB, Linux
  {machine["kernel"]}, {record["started_utc"][:10]}, commit {record["commit"]}
- {", ".join(sorted({sample["version"] for sample in record["samples"]}))}
- the same token ids for every engine: prompts of {prompts} tokens, {settings["new_tokens"]} new
  ones, greedy, context {settings["context"]}; a new process for every sample, engines taking
  turns; rounds: {rounds}; median ± median absolute deviation
- every model comes from the same GGUF file: llama.cpp's by its own quantizer, onnxruntime-genai's
  by its own builder with default options; llama.cpp is built from source for this machine, and
  measured with and without flash attention
- {_busy(record["samples"])}
- perplexity: {record["perplexity_tokens"]} tokens of {settings["text"]} in windows of
  {settings["window"]}; comparable within this table only"""


def _busy(samples: Sequence[Sample]) -> str:
    """Say how much of the wall time a one-thread process really ran: less is a busy machine."""
    shares = [
        run["decode"]["cpu_ns"] / run["decode"]["wall_ns"]
        for sample in samples
        if sample["threads"] == 1
        for run in sample["runs"]
    ]
    if not shares:
        return "how busy the machine was is not known: nothing ran with one thread"
    low = 100 * min(shares)
    verdict = "it was quiet" if low > 95 else "it was BUSY, take the figures with care"
    return f"one-thread decoding had a core for at least {low:.0f} % of its time: {verdict}"


def _picked(record: Mapping[str, Any], case: Case, variant: str, threads: int) -> list[Sample]:
    key = (case.label, variant, threads)
    return [s for s in record["samples"] if (s["case"], s["variant"], s["threads"]) == key]


def _rows(record: Mapping[str, Any], threads: int, columns: Mapping[str, Value]) -> str:
    lines = [
        f"| engine | {' | '.join(columns)} | file, MiB | perplexity |",
        f"|---|{'---:|' * (len(columns) + 2)}",
    ]
    for case in CASES:
        for variant in case.variants:
            samples = _picked(record, case, variant, threads)
            if not samples:
                continue
            cells = [median_and_spread([value(s) for s in samples]) for value in columns.values()]
            label = case.label if len(case.variants) == 1 else f"{case.label}, {variant}"
            shown = " | ".join(f"{middle:.0f} ± {spread:.0f}" for middle, spread in cells)
            lines.append(f"| {label} | {shown} | {_fixed(record, case)} |")
    return "\n".join(lines)


def _fixed(record: Mapping[str, Any], case: Case) -> str:
    perplexity = record["perplexity"].get(case.label)
    shown = "not measured" if perplexity is None else f"{perplexity:.2f}"
    return f"{record['file_bytes'][case.label] / MIB:.0f} | {shown}"


def _ratios(record: Mapping[str, Any], columns: Mapping[str, Value]) -> str:
    lines = [
        f"| pair | threads | {' | '.join(columns)} | file | perplexity |",
        f"|---|---:|{'---:|' * (len(columns) + 2)}",
    ]
    for ours in (case for case in CASES if case.engine == "edgellm"):
        for peer in (c for c in CASES if c.engine != "edgellm" and c.bits == ours.bits):
            for threads in record["settings"]["threads"]:
                cells = [_ratio(record, ours, peer, threads, *column) for column in columns.items()]
                fixed = [
                    _quotient(table.get(ours.label), table.get(peer.label))
                    for table in (record["file_bytes"], record["perplexity"])
                ]
                shown = " | ".join([*cells, *fixed])
                lines.append(f"| {ours.label} / {peer.label} | {threads} | {shown} |")
    return "\n".join(lines)


def _ratio(
    record: Mapping[str, Any], ours: Case, peer: Case, threads: int, name: str, value: Value
) -> str:
    def medians(case: Case) -> list[float]:
        groups = [_picked(record, case, variant, threads) for variant in case.variants]
        return [statistics.median(map(value, samples)) for samples in groups if samples]

    best = max if name.endswith("tok/s") else min
    return _quotient(*(best(medians(case), default=None) for case in (ours, peer)))


def _quotient(ours: float | None, peer: float | None) -> str:
    return "not measured" if ours is None or peer is None else f"{ours / peer:.2f}"
