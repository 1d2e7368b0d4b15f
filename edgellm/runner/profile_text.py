"""onnxruntime's profile as shares: no time of it is a latency."""

import statistics
from collections.abc import Iterator

from edgellm.records.report import Report
from edgellm.records.views import ProfiledPhase

MOST = 4  # operators of a stage that are named


def tables(report: Report) -> Iterator[list[str]]:
    """Yield a block of lines for each profiled phase."""
    for phase in report.views.profiled:
        yield [_title(report, phase), *_rows(phase)]


def _title(report: Report, phase: ProfiledPhase) -> str:
    clean = report.stage(phase.phase)
    text = f"{phase.phase} by onnxruntime's profile, in shares only"
    if clean is None:
        return text
    per_call = clean.tokens if phase.phase == "decode" else 1
    ratio = statistics.median(phase.profiled_ns) * per_call / statistics.median(clean.wall_ns)
    return f"{text}: while profiled it takes {ratio:.2f}x the clean time"


def _rows(phase: ProfiledPhase) -> Iterator[str]:
    """Yield a line for each stage, with the operators that matter in it."""
    total = sum(operator.wall_ns for operator in phase.operators)
    stages: dict[str, dict[str, float]] = {}
    for item in phase.operators:
        stages.setdefault(item.stage, {})[item.operator] = item.wall_ns / total
    width = max(map(len, stages))
    for stage, operators in stages.items():
        largest = sorted(operators.items(), key=lambda pair: -pair[1])
        shown = [f"{name} {100 * share:.1f} %" for name, share in largest[:MOST]]
        if len(largest) > MOST:
            rest = sum(share for _, share in largest[MOST:])
            shown.append(f"{len(largest) - MOST} others {100 * rest:.1f} %")
        line = f"  {stage.replace('_', ' '):{width}}  {100 * sum(operators.values()):5.1f} %"
        yield f"{line}  {', '.join(shown)}".rstrip()
