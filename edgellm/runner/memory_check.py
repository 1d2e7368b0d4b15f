"""Whether a bundle fits the memory that this machine has left, asked before its model is opened."""

import argparse
import dataclasses

from edgellm.errors import DoesNotFit
from edgellm.measure.facts import board_facts
from edgellm.measure.memory import rss_bytes
from edgellm.records import fit
from edgellm.records.manifest import BundleManifest
from edgellm.runner.runtime import home


def demand_memory(arguments: argparse.Namespace, manifest: BundleManifest, context: int) -> None:
    """Refuse a model that would swap, or be killed; ``--no-fit-check`` goes on.

    Args:
        arguments: With ``no_fit_check``.
        manifest: Of the bundle.
        context: Tokens that will be in the cache.

    Raises:
        DoesNotFit: The memory is too small.
    """
    if arguments.no_fit_check:
        return
    facts = board_facts(home())
    if facts.memory_available_bytes is not None:
        # What this process holds already is part of what it needs.
        available = facts.memory_available_bytes + (rss_bytes() or 0)
        facts = dataclasses.replace(facts, memory_available_bytes=available)
    for misfit in fit.memory(facts, manifest, min(context, manifest.model.kv.max_context)):
        raise DoesNotFit(f"{misfit.sentence}, or go on with --no-fit-check")
