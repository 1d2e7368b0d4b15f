"""Measure one engine in this process, and print one JSON object.

``python worker.py REQUEST.json`` with the interpreter of the engine's own environment; the request
is what ``bench_peers`` writes: engine, model, threads, context, variant, and what is asked for:
``prompts`` and ``new_tokens`` (speed), ``windows`` (perplexity) or ``text`` (its token ids).
Nothing but the engine's own packages is needed.
"""

import importlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

Ids = list[int]


class Engine(Protocol):
    """What each ``engine_*.py`` offers as ``open_engine(model, threads, context, variant)``."""

    version: str

    def generate(self, prompt: Ids) -> Iterator[int]:
        """Forget what was, then yield greedy tokens without end: the first comes by prefill."""

    def log_likelihoods(self, window: Ids) -> list[float]:
        """Return ln p of every token of ``window`` after its first, in one pass."""


def peak_rss_bytes() -> int:
    """Return the most memory that this process ever held (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("this kernel does not report VmHWM")


def read_clocks() -> dict[str, int]:
    """Return wall time and this process's processor time; apart, they show a busy machine."""
    return {"wall_ns": time.perf_counter_ns(), "cpu_ns": time.process_time_ns()}


def measure(engine: Engine, prompts: list[Ids], new_tokens: int) -> list[dict[str, Any]]:
    """Time prefill (prompt to first token) and decode (the other tokens) of each prompt."""
    warm = engine.generate(prompts[0][:16])
    for _ in range(4):
        next(warm)
    found = []
    for prompt in prompts:
        tokens = engine.generate(prompt)
        clocks = [read_clocks()]
        output = [next(tokens)]
        clocks.append(read_clocks())
        output += [next(tokens) for _ in range(new_tokens - 1)]
        clocks.append(read_clocks())
        prefill, decode = (
            {name: after[name] - before[name] for name in before}
            for before, after in itertools.pairwise(clocks)
        )
        found.append(
            {"prompt_tokens": len(prompt), "prefill": prefill, "decode": decode, "output": output}
        )
    return found


def main() -> None:
    """Do what the request asks."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    module = importlib.import_module(f"engine_{request['engine']}")
    started = time.perf_counter_ns()
    engine: Engine = module.open_engine(
        request["model"], request["threads"], request["context"], request["variant"]
    )
    answer: dict[str, Any] = {
        "version": engine.version,
        "load_ns": time.perf_counter_ns() - started,
    }
    if "prompts" in request:
        answer["runs"] = measure(engine, request["prompts"], request["new_tokens"])
    if "text" in request:  # only llama.cpp: its file holds the tokenizer
        answer["ids"] = module.tokenize(engine, request["text"])
    if "windows" in request:
        answer["log_likelihoods"] = [engine.log_likelihoods(w) for w in request["windows"]]
    answer["peak_rss_bytes"] = peak_rss_bytes()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
