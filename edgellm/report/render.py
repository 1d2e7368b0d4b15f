"""A comparison as text and as Markdown: the same tables, drawn in two ways."""

from collections.abc import Callable, Sequence

from edgellm.records.samples import REFERENCE_CYCLES
from edgellm.records.units import METRICS, STAGES, Metric
from edgellm.report.compare import COUNTED, Cell, Change, Comparison
from edgellm.report.explain import Explanation
from edgellm.runner.columns import aligned

APART = "from repetitions; drift of the machine between runs is not in it"
INTERLEAVED = "interleaved: the repetitions took turns, so the interval is of their ratios"

STAGE_LABELS = {stage.name: stage.label for stage in STAGES}
LEAST_REST = 0.02  # what is left within 2 % is noise

Table = Sequence[list[str]]
"""Rows of cells; the first row is the head."""


def as_text(comparison: Comparison) -> str:
    """Return the comparison for a terminal."""
    return _document(comparison, _text_table, "{}")


def as_markdown(comparison: Comparison) -> str:
    """Return the comparison for a document."""
    return _document(comparison, _markdown_table, "- {}")


def _document(comparison: Comparison, table: Callable[[Table], list[str]], item: str) -> str:
    reasons: dict[str, int] = {}
    values, changes = _values(comparison, reasons), _changes(comparison)
    blocks = [
        [f"{', '.join(dict.fromkeys(comparison.machines))}, {comparison.workload}; median ± MAD"],
        [item.format(f"DIFFERS: {line}") for line in comparison.differences],
        [item.format(f"the machines differ: {line}") for line in comparison.fingerprints],
        table(values),
        [
            f"Against {comparison.names[0]}, with the 95 % interval of the ratio "
            f"({INTERLEAVED if comparison.interleaved else APART}):"
        ],
        table(changes),
        *([item.format(line) for line in explained(found)] for found in comparison.explanations),
        [item.format(line) for line in comparison.parities],
        [item.format(f"({number}) {reason}") for reason, number in reasons.items()],
        [item.format(note) for note in comparison.notes],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def explained(found: Explanation) -> list[str]:
    """Return what explains the time of a stage, as lines."""
    label = STAGE_LABELS[found.stage]
    head = f"{label} of {found.other} against {found.reference}"
    if found.why:
        return [f"{head}: not explained: {found.why}", *found.beside]
    lines = [f"{head}: {_times(found.ratio)} the time"]
    lines += [f"  {_times(factor.ratio)} by {factor.numbers}" for factor in found.factors]
    if abs(found.rest - 1) >= LEAST_REST:
        lines.append(f"  {_times(found.rest)} not explained")
    return lines + [f"  beside: {line}" for line in found.beside]


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def _values(comparison: Comparison, reasons: dict[str, int]) -> Table:
    rows = [
        [METRICS[row.metric].label]
        + [_value(METRICS[row.metric], cell, reasons) for cell in row.cells]
        for row in comparison.rows
    ]
    head = [
        ["", *comparison.names],
        ["model", *comparison.models],
        ["bundle", *comparison.bundles],
        ["verdict", *comparison.verdicts],
    ]
    return [*head, *rows]


def _value(metric: Metric, cell: Cell, reasons: dict[str, int]) -> str:
    """Return the cell; a missing value refers to its reason, of which each has one number."""
    if cell.median is not None:
        return metric.show(cell.median, cell.mad)
    number = reasons.setdefault(cell.why or "not measured", len(reasons) + 1)
    return f"not measured ({number})"


def _changes(comparison: Comparison) -> Table:
    """Rows for which at least one report can be compared; the others' reasons stand above.

    Reference cycles are left out: they are time in another unit, and change as it does.
    """
    rows = [
        [METRICS[row.metric].label] + [change_words(METRICS[row.metric], c) for c in row.changes]
        for row in comparison.rows
        if COUNTED.get(row.metric) != REFERENCE_CYCLES
        and any(change.ratio is not None for change in row.changes)
    ]
    return [["", *comparison.names[1:]], *rows]


def change_words(metric: Metric, change: Change) -> str:
    """Return a change in words, such as ``1.38x slower (1.35 to 1.41)``."""
    if change.ratio is None:
        return f"not comparable: {change.why}" if change.why else change.verdict
    lower, unit = change.ratio < 1, metric.unit
    word = unit.better if lower == unit.lower_is_better else unit.worse
    text = "equal" if change.ratio == 1 else f"{_factor(change.ratio, lower)}x {word}"
    if change.interval is not None:
        low, high = change.interval.low, change.interval.high
        ends = sorted([_factor(low, lower), _factor(high, lower)], key=float)
        text += f" ({ends[0]} to {ends[1]})"
    if change.verdict in ("better", "worse"):
        return text
    if change.verdict == "too few samples":
        return f"{text}, {change.verdict}"
    return change.verdict if change.ratio == 1 else f"unclear: {text}"


def _factor(ratio: float, invert: bool) -> str:
    factor = 1 / ratio if invert else ratio
    return f"{factor:.2f}" if factor < 100 else f"{factor:.0f}"


def _text_table(table: Table) -> list[str]:
    return aligned(table)


def _markdown_table(table: Table) -> list[str]:
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
