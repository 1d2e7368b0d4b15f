"""``prune``: a stage folder becomes a smaller one."""

from pathlib import Path

from edgellm.calibrate.calibration import load_calibration
from edgellm.graph.stage_folder import derive_stage, open_stage
from edgellm.prune.plan import PrunePlan
from edgellm.prune.pruning import Pruned, Request, prune
from edgellm.records.folder import claim_output
from edgellm.records.manifest import TOKENIZER_FILE, StageRecord
from edgellm.records.progress import Progress, silent


def prune_stage(
    stage: Path,
    output: Path,
    request: Request | PrunePlan,
    calibration: Path | None = None,
    *,
    threads: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> tuple[Pruned, StageRecord]:
    """Prune the graph of ``stage`` into the new stage folder ``output``.

    Args:
        stage: The folder to read.
        output: The folder to write.
        request: What to remove, or the plan that says it.
        calibration: UTF-8 text that decides what goes; the one that ships where None.
        threads: As in :class:`~edgellm.runner.session.Session`.
        force: Replace ``output``.
        progress: Told about every step.

    Returns:
        What was pruned, and the new folder's record.

    Raises:
        UsageError: See :func:`edgellm.prune.pruning.prune`; or the output cannot be written.
    """
    claim_output(output, force=force)
    source = open_stage(stage, progress=progress)
    longest = source.record.model.kv.max_context
    text = load_calibration(stage / TOKENIZER_FILE, calibration, longest)
    pruned = prune(source, request, text, threads=threads, progress=progress)
    step = pruned.step(source)
    record = derive_stage(
        source, output, pruned.graph, step, model=pruned.facts, force=force, progress=progress
    )
    return pruned, record
