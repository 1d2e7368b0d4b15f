"""What a bench does beside measuring the whole: parity, the graph's stages, operators, roofs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgellm.errors import UnsupportedModel, UsageError
from edgellm.records.machine import Roof
from edgellm.records.progress import Progress
from edgellm.records.report import Report
from edgellm.records.samples import Unavailable
from edgellm.records.views import Views
from edgellm.runner.harness import THIS_MACHINE, Machine
from edgellm.runner.load import open_bundle
from edgellm.runner.parity import measure_parity
from edgellm.runner.plan import Plan
from edgellm.runner.profile import profile_calls
from edgellm.runner.roofs import measure_roofs
from edgellm.runner.staged import measure_stages

T = TypeVar("T")


def with_parity(
    report: Report, path: Path, plan: Plan, progress: Progress, *, wanted: bool
) -> Report:
    """Return the report with its parity, or with the reason why that was not measured.

    Args:
        report: Of the whole.
        path: The same bundle.
        plan: The same plan; its threads are used.
        progress: Told about each golden prompt and stage.
        wanted: Measure it.
    """
    if wanted:
        bundle = open_bundle(path, check=False)  # checked when the whole was measured
        found = measure_parity(bundle, threads=plan.used_threads, progress=progress)
        return dataclasses.replace(report, parity=found)
    skipped = Unavailable("parity", "it was left out by --no-parity")
    return dataclasses.replace(report, unavailable=(*report.unavailable, skipped))


def look_into(
    report: Report, path: Path, plan: Plan, progress: Progress, machine: Machine = THIS_MACHINE
) -> Report:
    """Return the report with its views, the graph's work, and the machine's roofs.

    Args:
        report: Of the whole, which stays as it is.
        path: The same bundle.
        plan: The same plan.
        progress: Told about each view.
        machine: Where time and counts come from.
    """
    bundle = open_bundle(path, check=False)  # checked when the whole was measured
    missing: list[Unavailable] = []

    def attempt(what: str, take: Callable[[], T]) -> T | None:
        try:
            return take()
        except (UnsupportedModel, UsageError) as error:
            missing.append(Unavailable(what, str(error)))
            return None

    roofs: tuple[Roof, ...] | Unavailable | None
    if report.environment.emulation:
        roofs = Unavailable("roofs", "an emulator's speed is no roof of any machine")
    else:
        # Before the stages: with the pool that they share no session has threads of its own.
        progress("probing the machine", 0, 1)
        roofs = attempt("roofs", lambda: measure_roofs(plan.used_threads, machine.root))
    if isinstance(roofs, Unavailable):
        missing.append(roofs)
        roofs = None
    staged = attempt("stages of the graph", lambda: measure_stages(bundle, plan, machine, progress))
    profiled = attempt("profile", lambda: profile_calls(bundle, plan, machine, progress))
    return dataclasses.replace(
        report,
        work=bundle.manifest.work,
        roofs=roofs or (),
        views=Views(staged, profiled or (), tuple(missing)),
    )
