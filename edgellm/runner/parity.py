"""Does this machine answer like the one that made the bundle, and by how much not."""

import io
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel
from edgellm.measure.isa import this_isa
from edgellm.records.golden import STAGES_FILE, GoldenSet, Limits
from edgellm.records.manifest import MODEL_FILE
from edgellm.records.parity import Parity, StageParity
from edgellm.records.progress import Progress, silent
from edgellm.records.samples import Unavailable
from edgellm.runner import golden
from edgellm.runner.load import Bundle
from edgellm.runner.probe import Stages, distance
from edgellm.runner.session import Engine

WHOLE, CHANNEL = 0.005, 0.02
"""Differences of a stage that are always accepted: of the whole value, and of one channel.

Values are stored in 16 bit, which alone moves them by up to 0.0004 and one channel by 0.010.
"""
NOISE = " noise"
OLD = "the bundle was made by an older edgellm: make it again"

Arrays = Mapping[str, NDArray[np.float32]]


def measure_parity(
    bundle: Bundle, *, threads: int = 0, isa: str | None = None, progress: Progress = silent
) -> Parity:
    """Replay the golden tokens, then check every stage of the graph by itself.

    Args:
        bundle: An opened bundle.
        threads: Threads of onnxruntime; 0 for one per core.
        isa: This machine's arithmetic; it is found out where None.
        progress: Told about each prompt and stage.
    """
    wanted = bundle.golden()
    isa = isa or this_isa()
    limits = wanted.limits.get(isa)
    longest = max(len(p.prompt_ids) + len(p.output_ids) for p in wanted.prompts)
    session = bundle.session(threads=threads, context=longest)
    prompts = golden.replay_all(session, wanted, progress)
    del session  # its weights, before each stage has its own
    missing = list(_unjudged(wanted, isa))
    checked: list[StageParity] = []
    if limits and wanted.stage_ids:
        try:
            checked = list(_stages(bundle, wanted, limits, threads, progress))
        except UnsupportedModel as error:
            missing.append(Unavailable("parity of stages", str(error)))
    return Parity(
        isa=isa,
        made_on=wanted.machine,
        prompts=prompts,
        limits=limits,
        stages_checked=len(checked),
        worst_stage=max(checked, key=_severity, default=None),
        failed_stages=tuple(stage for stage in checked if _severity(stage) > 1),
        missing=tuple(missing),
    )


def _unjudged(wanted: GoldenSet, isa: str) -> Iterator[Unavailable]:
    """Yield what a set does not let us judge."""
    if not wanted.limits:
        yield Unavailable("tolerance", OLD)
    elif isa not in wanted.limits:
        known = ", ".join(wanted.limits)
        yield Unavailable("tolerance", f"the bundle has none for {isa}, but for {known}")
    if not wanted.stage_ids:
        why = "the bundle has no values of stages: its graph has no stages, or it is an older one"
        yield Unavailable("parity of stages", why)


def _severity(stage: StageParity) -> float:
    return math.inf if stage.excess is None else stage.excess


def _stages(
    bundle: Bundle, wanted: GoldenSet, limits: Limits, threads: int, progress: Progress
) -> Iterator[StageParity]:
    arrays = read_stages(bundle)
    stages = Stages(
        bundle.files[MODEL_FILE].read(),
        bundle.manifest.model,
        bundle.weights,
        Engine(threads, kernels=bundle.kernels),
    )
    for name, found in stages.run(wanted.stage_ids, arrays, progress):
        yield judge(name, found, arrays, limits.stage_noise)


def read_stages(bundle: Bundle) -> Arrays:
    """Return what each stage gave where the bundle was made, and the noise of that."""
    with np.load(io.BytesIO(bundle.files[STAGES_FILE].read())) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


def judge(name: str, found: NDArray[np.float32], arrays: Arrays, factor: float) -> StageParity:
    """Hold a stage's value against the recorded one.

    Args:
        name: Of the value.
        found: What the stage gave here, ``(tokens, width)``.
        arrays: What was recorded: the value, and its noise ``(2, tokens)``: of the whole, and of
            the channel that moved most.
        factor: How many times the noise is accepted.
    """
    apart = distance(found, arrays[name])
    whole, channel = arrays[name + NOISE]
    shares = [apart.whole / (WHOLE + factor * whole), apart.channel / (CHANNEL + factor * channel)]
    sizes = [float(apart.whole.max()), float(np.max(shares))]
    size, excess = (value if math.isfinite(value) else None for value in sizes)
    return StageParity(name, size, excess)


def headline(parity: Parity) -> list[str]:
    """Return the verdict, what is wrong, and the figures with what is accepted, as lines."""
    verdict = {True: "met", False: "NOT MET", None: "not judged"}[parity.met]
    return [
        f"parity with {parity.made_on}: {verdict} on {parity.isa}, {parity.equal} of "
        f"{parity.tokens} tokens equal",
        *(f"  {fault}" for fault in parity.faults()),
        *_figures(parity),
    ]


def describe(parity: Parity) -> list[str]:
    """Return the headline, then each prompt and what is missing, as lines."""
    lines = headline(parity)
    for number, prompt in enumerate(parity.prompts, 1):
        equal = f"all {prompt.tokens} tokens equal"
        if prompt.first_difference is not None:
            equal = (
                f"{prompt.equal} of {prompt.tokens} tokens equal, the first difference at position "
                f"{prompt.first_difference}"
            )
        lines.append(f"prompt {number}: {equal}")
    return lines + [f"{gap.what} not measured: {gap.why}" for gap in parity.missing]


def _figures(parity: Parity) -> Iterator[str]:
    limits, worst = parity.limits, parity.worst_stage
    if parity.kl:
        mean, most = parity.kl
        accepted = f" (limits {limits.mean_kl:.2g} and {limits.max_kl:.2g})" if limits else ""
        yield f"KL divergence of the logits: mean {mean:.2g}, largest {most:.2g} nats{accepted}"
    if worst and worst.excess is not None and worst.whole is not None:
        yield (
            f"{parity.stages_checked} values of stages: the worst is {worst.name}, "
            f"{100 * worst.whole:.2g} % away and {worst.excess:.2g} of what is accepted"
        )
