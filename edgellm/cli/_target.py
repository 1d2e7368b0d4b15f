"""What ``quantize`` and ``build`` share: kernels chosen for a target, and the limits of quality."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgellm.cli._common import share
from edgellm.records.progress import Progress

if TYPE_CHECKING:
    from edgellm.evaluate.guard import Attempt, Limits
    from edgellm.quantize.choose import Plan, Workload
    from edgellm.quantize.scheme import Scheme
    from edgellm.records.quality import Quality
    from edgellm.records.target import Target

F = TypeVar("F", bound=Callable[..., Any])


def guard_options(function: F) -> F:
    """Add the limits of quality."""
    for option in (
        click.option(
            "--no-guard", is_flag=True, help="Take what was chosen, whatever it loses in quality."
        ),
        click.option(
            "--max-kl",
            type=click.FloatRange(0),
            metavar="NATS",
            help="KL divergence from float that is allowed (8 bits 0.03, 4 bits 0.2).",
        ),
        click.option(
            "--max-perplexity",
            callback=share,
            metavar="SHARE",
            help="Growth of perplexity that is allowed (8 bits 1.5%, 4 bits 20%).",
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Choosing:
    """How to quantize.

    Attributes:
        base: The scheme, with kernels still to be chosen where there is a target.
        target: What it is for.
        workload: What the model will do there.
        guard: Whether limits are kept.
        limits: The limits that the user gave: growth of perplexity, KL divergence.
    """

    base: "Scheme"
    target: "Target | None"
    workload: "Workload"
    guard: bool
    limits: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of it.

    Attributes:
        lines: What was chosen, and why, for people.
        quality: Against the folder that was quantized, as in prefill; None where it was not asked.
    """

    lines: list[str]
    quality: "Quality | None"


def read_choice(
    scheme: str | None,
    target: str | None,
    options: dict[str, Any],
    guard: tuple[bool, float | None, float | None],
    workload: tuple[int, int] = (64, 64),
) -> Choosing:
    """Read the options, before any work is done.

    Args:
        scheme: ``--scheme``; ``auto`` or ``int8`` where None, with and without a target.
        target: ``--target``.
        options: Further fields of the scheme.
        guard: Whether limits are kept, and those that were given.
        workload: Prompt and output tokens.

    Raises:
        UsageError: A name that is not known, or ``auto`` without a target.
    """
    import dataclasses

    from edgellm.errors import UsageError
    from edgellm.quantize.choose import CHOICES, Workload
    from edgellm.quantize.pipeline import choose_scheme
    from edgellm.targets.files import load

    name = scheme or ("auto" if target else "int8")
    if name == "auto" and target is None:
        raise UsageError("--scheme auto chooses for a board: add --target (list: edgellm targets)")
    base = choose_scheme("int8" if name == "auto" else name, options)
    found = None
    if target is not None:
        found = load(target)
        base = dataclasses.replace(base, name=name, target=found.id if name in CHOICES else None)
    kept, *limits = guard
    wanted = kept and (found is not None or limits != [None, None])
    return Choosing(base, found, Workload(*workload), wanted, (limits[0], limits[1]))


def quantize_chosen(
    stage: Path,
    output: Path,
    choosing: Choosing,
    make: Callable[["Scheme", Path], object],
    told: Progress,
    *,
    force: bool = False,
) -> Chosen:
    """Quantize ``stage``, choose where there is a target, and keep the limits.

    Args:
        stage: A stage folder in float.
        output: The stage folder to write.
        choosing: How.
        make: Writes a stage folder by a scheme, over one that is there.
        told: Told about the work.
        force: Replace ``output``.
    """
    from edgellm.evaluate.guard import Verdict, examine, first_within
    from edgellm.records.folder import claim_output

    claim_output(output, force=force)
    candidates = _candidates(stage, choosing)
    if not choosing.guard:
        plan = next(candidates)
        make(_scheme(choosing, plan), output)
        return Chosen(_describe(plan, choosing), None)

    def judge(plan: "Plan | None", made: Path) -> Verdict:
        limits = _limits(_scheme(choosing, plan), choosing.limits)
        return examine(made, stage, limits, progress=told)

    tried = first_within(
        candidates,
        lambda plan, place: make(_scheme(choosing, plan), place),
        judge,
        output,
        force=force,
    )
    kept = tried[-1]
    lines = [*_describe(kept.candidate, choosing), *_verdicts(tried)]
    return Chosen(lines, kept.verdict.prefill)


def _candidates(stage: Path, choosing: Choosing) -> Iterator["Plan | None"]:
    """Yield plans; None for the scheme as it is, where nothing is to be chosen."""
    from edgellm.quantize.costs import core_of
    from edgellm.quantize.pipeline import plan_stage

    if choosing.target is None or choosing.base.target is None or core_of(choosing.target) is None:
        return iter([None])
    return plan_stage(stage, choosing.target, choosing.base.name, choosing.workload)


def _scheme(choosing: Choosing, plan: "Plan | None") -> "Scheme":
    return choosing.base if plan is None else plan.scheme(choosing.base)


def _limits(scheme: "Scheme", given: tuple[float | None, float | None]) -> "Limits":
    """Return the limits of a scheme, or what the user gave in their place."""
    from edgellm.evaluate.guard import LIMITS, Limits

    usual = LIMITS[4 if scheme.bits == 4 else 8]
    perplexity, divergence = given
    return Limits(
        usual.perplexity if perplexity is None else perplexity,
        usual.kl_divergence if divergence is None else divergence,
    )


def _verdicts(tried: "list[Attempt[Plan | None]]") -> list[str]:
    lines = []
    for before, after in itertools.pairwise(tried):
        assert before.candidate is not None
        assert after.candidate is not None
        changes = zip(
            before.candidate.groups,
            before.candidate.kernels,
            after.candidate.kernels,
            strict=True,
        )
        changed = ", ".join(f"{g.name} from {a} to {b}" for g, a, b in changes if a != b)
        lines.append(f"not kept: {before.verdict}; changed {changed}")
    return [*lines, f"kept: {tried[-1].verdict}"]


def _describe(plan: "Plan | None", choosing: Choosing) -> list[str]:
    """Say which kernels were chosen, for how many matmuls, and by which numbers."""
    target = choosing.target
    if plan is None or target is None:
        if target is None or choosing.base.target is None:
            return []
        return [
            f"{target.id}: nothing was counted on {target.arch}; "
            f"{choosing.base.method} of {choosing.base.bits} bits decoded fastest there"
        ]
    lines = [
        f"kernels for {target.id}, as counted on an emulated {plan.core}; millions of instructions "
        f"a decoded token (and a prompt of {plan.workload.prompt_tokens}):"
    ]
    for group, kernel in zip(plan.groups, plan.kernels, strict=True):
        others = ", ".join(
            f"{other} {_million(cost.decode)}"
            for other, cost in group.costs.items()
            if other != kernel
        )
        cost = group.costs[kernel]
        lines.append(
            f"  {group.name:<22} {len(group.matmuls):>3} x {kernel}: {_million(cost.decode)} "
            f"({_million(cost.prefill)}); instead of {others}"
        )
    total = plan.cost
    lines.append(
        f"  all matmuls: {_million(total.decode)} ({_million(total.prefill)}), predicted, emulated"
    )
    return lines


def _million(count: float) -> str:
    return f"{count / 1e6:.1f}"
