"""onnxruntime's own profile of some calls: which operators of which stage take how much.

Profiling a node takes longer than many a node, so its times are no latency: they serve as shares,
beside the ratio by which the profiled calls were slower than clean ones.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgellm.records import stages
from edgellm.records.manifest import MODEL_FILE
from edgellm.records.progress import Progress
from edgellm.records.views import OperatorTime, Phase, ProfiledPhase
from edgellm.runner import bench_prompt
from edgellm.runner.harness import Machine
from edgellm.runner.load import Bundle
from edgellm.runner.onnx_proto import GRAPH_NODE, MODEL_GRAPH, NODE_DOMAIN, NODE_NAME, NODE_TYPE
from edgellm.runner.plan import Plan
from edgellm.runner.protobuf import fields
from edgellm.runner.requirements import OURS
from edgellm.runner.session import PREFILL_CHUNK_TOKENS

PREFILLS, STEPS = 3, 16  # enough for shares; a profile keeps every node of every call
KERNEL = "_kernel_time"
# Nodes are named by their stage: ``layers.3.attention.qkv``, ``head.logits``.
STAGE = re.compile(rf"(?:layers\.\d+\.)?({'|'.join(stages.KINDS)})\b")
# Where an operator of ours is a function, onnxruntime names what it puts in its place by the
# function, and from the second time on by a count over all functions.
INLINED = re.compile(r"(_inlfunc_[A-Za-z]+(?:_token_\d+)?)_")
OTHER = "other"  # what onnxruntime put in by itself
MICROSECOND_NS = 1000

Event = Mapping[str, Any]


def profile_calls(
    bundle: Bundle, plan: Plan, machine: Machine, progress: Progress
) -> tuple[ProfiledPhase, ...]:
    """Profile some prefills, and decode steps after them.

    Args:
        bundle: An opened bundle of either route.
        plan: Prompt and threads.
        machine: Where time comes from.
        progress: Told once.

    Raises:
        UsageError: This process shares another number of threads among its sessions.
    """
    progress("profiling", 0, 1)
    prompt = plan.prompt_tokens
    steps = min(STEPS, plan.used_context - prompt - 1)
    ids = bench_prompt.ids(bundle.tokenizer, prompt + steps)
    with tempfile.TemporaryDirectory() as scratch:
        session = bundle.session(
            threads=plan.used_threads,
            context=plan.used_context,
            shared=True,
            profile=Path(scratch) / "profile",
        )
        prefills, decodes = [], []
        for _ in range(1 + PREFILLS):  # the first is a warm-up
            session.reset()
            since = machine.clock()
            session.prefill(ids[:prompt])
            prefills.append(machine.clock() - since)
        for token in [ids[prompt], *ids[prompt:]]:
            since = machine.clock()
            session.step(token)
            decodes.append(machine.clock() - since)
        events = json.loads(session.end_profiling().read_bytes())
    chunks = -(-prompt // PREFILL_CHUNK_TOKENS)
    names = _inlined(bundle.files[MODEL_FILE].read())
    calls = _calls([_renamed(event, names) for event in events])
    measured = chunks * (1 + PREFILLS)  # each phase begins with its warm-up
    prefill, decode = calls[chunks:measured], calls[measured + 1 :]
    return (
        _phase("prefill", 0, prompt, prefill, prefills[1:]),
        _phase("decode", prompt, 1, decode, decodes[1:]),
    )


def _inlined(model: bytes) -> dict[str, str]:
    """Return how onnxruntime calls the place of each node that is one of our functions."""
    (graph,) = (content for number, _, content in fields(model) if number == MODEL_GRAPH)
    names: dict[str, str] = {}
    again = 0
    for number, _, node in fields(graph):
        texts = {n: text for n, _, text in fields(node)} if number == GRAPH_NODE else {}
        if texts.get(NODE_DOMAIN) != OURS.encode():
            continue
        place = f"_inlfunc_{texts[NODE_TYPE].decode()}"
        if place in names:
            place, again = f"{place}_token_{again}", again + 1
        names[place] = texts[NODE_NAME].decode()
    return names


def _renamed(event: Event, names: Mapping[str, str]) -> Event:
    match = INLINED.match(event["name"])
    if match is None or match[1] not in names:
        return event
    return {**event, "name": f"{names[match[1]]}.{event['name'][match.end() :]}"}


def _calls(events: Sequence[Event]) -> list[list[Event]]:
    """Return the kernels of each call of the session, in the order of the calls."""
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("cat") == "Session" and event["name"] == "model_run"
    )
    kernels = sorted(
        (e for e in events if e.get("cat") == "Node" and e["name"].endswith(KERNEL)),
        key=lambda event: event["ts"],
    )
    found: list[list[Event]] = []
    at = 0
    for _, end in runs:
        first = at
        while at < len(kernels) and kernels[at]["ts"] <= end:
            at += 1
        found.append(kernels[first:at])
    return found


def _phase(
    phase: Phase, context: int, tokens: int, calls: list[list[Event]], profiled_ns: list[int]
) -> ProfiledPhase:
    sums: dict[tuple[str, str], list[int]] = {}
    for event in (event for call in calls for event in call):
        match = STAGE.match(event["name"])
        key = (match[1] if match else OTHER, event["args"]["op_name"])
        sums.setdefault(key, []).append(event["dur"] * MICROSECOND_NS)
    return ProfiledPhase(
        phase,
        context,
        tokens,
        len(profiled_ns),
        tuple(OperatorTime(*key, len(times), sum(times)) for key, times in sums.items()),
        tuple(profiled_ns),
    )
