"""The command ``bench``: the whole, then the views and the roofs, then one report."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgellm.errors import UsageError
from edgellm.records import codec, folder
from edgellm.records.report import Report
from edgellm.runner.memory_check import demand_memory
from edgellm.runner.options import fit_option, json_option, machine_options, pin, progress, share
from edgellm.runner.runtime import read_manifest

HELP = """Measure the stages of an answer, in time and cycles.

Every repetition runs the same: tokenize, prefill, then output tokens one by one (greedy, stop
tokens ignored), then detokenize. Time and cycles are read at each boundary. TTFT is tokenize +
prefill + first sample; loading is not in it. Then the graph is cut into its stages and measured
again, beside onnxruntime's own profile, and the machine is probed for the most that it can do."""

# Their defaults are the plan's own, so that parsing needs no harness; the help repeats them.
COUNTS: Mapping[str, str] = {
    "prompt-tokens": "length of the prompt (64)",
    "output-tokens": "tokens to produce (32)",
    "repetitions": "repetitions that count; where not given, 5 or more until it is precise",
    "warmup": "repetitions before those, kept apart (1)",
    "context": "capacity in tokens; what the workload needs where not given",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench``."""
    for name, text in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS, help=text)
    parser.add_argument("--depth", help="measure decode also after so many tokens, such as 0,512")
    parser.add_argument(
        "--precision", default="1%", help="end when the median is known to +- this (1%%)"
    )
    parser.add_argument(
        "--time-limit",
        dest="time_limit_s",
        metavar="TIME_LIMIT",
        type=float,
        default=10.0,
        help="or after so many seconds of it (10)",
    )
    parser.add_argument(
        "--no-parity", action="store_true", help="do not replay the golden tokens after measuring"
    )
    parser.add_argument("--quick", action="store_true", help="the whole only: no stages, no roofs")
    parser.add_argument("--layers", action="store_true", help="show each layer by itself")
    parser.add_argument("--checklist", action="store_true", help="show every row of the checklist")
    parser.add_argument("--clock", action="store_true", help="show inference as a clocked machine")
    parser.add_argument("-o", "--output", type=Path, help="report to write, with the raw samples")
    parser.add_argument("--force", action="store_true", help="replace the report where it exists")
    # For whoever starts several benches that take turns, see _paced.
    parser.add_argument("--paced", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--interleaved", help=argparse.SUPPRESS)
    fit_option(parser)
    machine_options(parser)
    json_option(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Measure, and print or write the report.

    Raises:
        EdgellmError: As the harness.
    """
    from edgellm.runner import bench
    from edgellm.runner.harness import measure_bundle
    from edgellm.runner.plan import Plan

    pin(arguments)
    if arguments.output:
        folder.claim_output(arguments.output, force=arguments.force)
    given = vars(arguments)
    names = ("threads", "time_limit_s", *(name.replace("-", "_") for name in COUNTS))
    values = {name: given[name] for name in names if name in given}
    plan = Plan(**values, precision=share(arguments.precision), depths=_depths(arguments.depth))
    demand_memory(arguments, read_manifest(arguments.bundle), plan.used_context)
    told = progress()
    report = measure_bundle(
        arguments.bundle, plan, pace=_paced() if arguments.paced else None, progress=told
    )
    report = dataclasses.replace(report, interleaved=arguments.interleaved)
    report = bench.with_parity(report, arguments.bundle, plan, told, wanted=not arguments.no_parity)
    if not arguments.quick:
        if arguments.output:
            codec.write(arguments.output, report)  # the headline survives what comes now
        report = bench.look_into(report, arguments.bundle, plan, told)
    show(arguments, report)


def show(arguments: argparse.Namespace, report: Report) -> None:
    """Write a report where that was asked for, and print it as was asked for."""
    from edgellm.runner import bench_text, clock_text

    if arguments.output:
        codec.write(arguments.output, report)
    if arguments.json or arguments.paced:
        print(codec.dumps(report), end="")
        return
    if arguments.clock:
        print(clock_text.render(report))
        return
    text = bench_text.render(report, layers=arguments.layers, every_check=arguments.checklist)
    print(text)
    if arguments.output:
        print(f"\nreport: {arguments.output}")


def _depths(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(f"{text!r} is no list of depths: write it like 0,512") from None


def _paced() -> Callable[[Sequence[int]], bool]:
    """Return a pace that somebody else gives, so that benches can take turns.

    It writes ``ready``, and after each repetition ``done NANOSECONDS`` (of its decode), and runs
    the next one when it reads a line; the end of its input ends it.
    """

    def wait(decode_ns: Sequence[int]) -> bool:
        print(f"done {decode_ns[-1]}" if decode_ns else "ready", flush=True)
        return bool(sys.stdin.readline())

    return wait
