"""``edgellm-run BUNDLE COMMAND``: the board's command line.

``edgellm run`` on the host is the same code, so a bundle behaves alike in both places. What needs
onnxruntime is imported by the commands that do, so that ``doctor`` runs where importing it crashes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgellm
from edgellm.errors import DoesNotFit, EdgellmError, ParityExceeded, UsageError
from edgellm.measure.memory import peak_rss_bytes
from edgellm.records import codec, fit, folder
from edgellm.records.manifest import MANIFEST_FILE
from edgellm.runner import bench_command, board_command, doctor_command, install_command, runtime
from edgellm.runner.memory_check import demand_memory
from edgellm.runner.options import fit_option, json_option, machine_options, pin, progress

if TYPE_CHECKING:
    from edgellm.runner.generate import Result
    from edgellm.runner.load import Bundle
    from edgellm.runner.session import Session


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command: what it is for, its options, what it does, to a bundle, with what packages."""

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], None]
    examples: tuple[str, ...]
    takes_bundle: bool = True
    needs_packages: bool = True


def main(argv: Sequence[str] | None = None) -> None:
    """Run the board's command line and exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    home = _home()
    if arguments and arguments[0] in COMMANDS and not COMMANDS[arguments[0]].takes_bundle:
        if home:
            runtime.activate(home)
        sys.exit(run_one(arguments[0], arguments[1:], "edgellm-run"))
    if home and (not arguments or arguments[0] in COMMANDS):
        arguments.insert(0, str(home))
    parser = argparse.ArgumentParser(
        prog="edgellm-run",
        description="Run a bundle: generate text, check it, or measure it.",
        epilog="BUNDLE may be left out where the program lies in its bundle.",
    )
    parser.add_argument("--version", action="version", version=edgellm.__version__)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder or .edgellm file")
    metavar = "|".join(COMMANDS)
    subparsers = parser.add_subparsers(dest="command", metavar=metavar, required=True)
    for name, command in COMMANDS.items():
        prog = f"edgellm-run BUNDLE {name}" if command.takes_bundle else f"edgellm-run {name}"
        first, *_ = command.help.splitlines()
        child = subparsers.add_parser(name, prog=prog, help=first, **_about(command, prog))
        if arguments[1:2] == [name]:  # options of others may need packages that are not there
            try:
                _equip(Path(arguments[0]), command)
            except DoesNotFit as error:
                print(f"edgellm-run: {error}", file=sys.stderr)
                sys.exit(error.exit_code)
            command.add_options(child)
    parsed = parser.parse_args(arguments)
    sys.exit(_guarded(COMMANDS[parsed.command], parsed, "edgellm-run"))


def run_one(name: str, argv: Sequence[str], program: str = "edgellm") -> int:
    """Run one command as ``edgellm NAME [BUNDLE] ...`` on the host; return the exit code."""
    return run_parsed(name, parser_of(name, program).parse_args(argv), program)


def run_parsed(name: str, parsed: argparse.Namespace, program: str = "edgellm") -> int:
    """Run one command whose options were read by :func:`parser_of`; return the exit code."""
    return _guarded(COMMANDS[name], parsed, program)


def parser_of(name: str, program: str = "edgellm") -> argparse.ArgumentParser:
    """Return what reads the options of one command as ``edgellm NAME [BUNDLE] ...``."""
    command, prog = COMMANDS[name], f"{program} {name}"
    about = _about(command, f"{prog} BUNDLE" if command.takes_bundle else prog)
    parser = argparse.ArgumentParser(prog=prog, **about)
    if command.takes_bundle:
        parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder or .edgellm file")
    command.add_options(parser)
    return parser


def _about(command: Command, prog: str) -> dict[str, Any]:
    examples = "\n".join(f"  {prog} {example}".rstrip() for example in command.examples)
    return {
        "description": command.help,
        "epilog": f"Examples:\n{examples}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _equip(bundle: Path, command: Command) -> None:
    """Let a bundle's own packages be found.

    Raises:
        DoesNotFit: The command needs some, and neither the bundle nor the system has them.
    """
    runtime.activate(bundle)
    missing = runtime.missing() if command.needs_packages else ()
    if missing:
        program = f"python3 {sys.argv[0]}" if _home() else f"edgellm-run {bundle}"
        raise DoesNotFit(
            f"this machine lacks {', '.join(missing)}: install them by {program} install"
        )


def _home() -> Path | None:
    """Return the bundle that this program was started from, if it was."""
    archive = Path(edgellm.__file__).parents[1]
    if not archive.is_file():
        return None
    with zipfile.ZipFile(archive) as opened:
        if MANIFEST_FILE in opened.namelist():
            return archive
    return archive.parent if (archive.parent / MANIFEST_FILE).is_file() else None


def _guarded(command: Command, arguments: argparse.Namespace, prog: str) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8
    try:
        with folder.terminate_as_interrupt():
            command.execute(arguments)
        print(end="", flush=True)  # also where stdout is closed
    except EdgellmError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read us has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a file that vanished, a disk that fails: no fault of ours
        print(f"{prog}: {error}", file=sys.stderr)
        return EdgellmError.exit_code
    return 0


# run ---------------------------------------------------------------------------------------


def _run_options(parser: argparse.ArgumentParser) -> None:
    from edgellm.runner.sampling import Sampling

    defaults = Sampling()
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", help="text to answer; from stdin where neither is given")
    prompt.add_argument("--prompt-file", type=Path, help="file with the text to answer, in UTF-8")
    parser.add_argument("--system", help="system message, where the chat template takes one")
    parser.add_argument("--raw", action="store_true", help="continue the text as it is: no chat")
    parser.add_argument("--max-tokens", type=int, default=256, help="most tokens to generate (256)")
    parser.add_argument(
        "--stop", action="append", default=[], help="end before this text; repeatable"
    )
    for name, kind, text in (
        ("temperature", float, "0 is greedy (0)"),
        ("top-k", int, "keep this many most probable tokens; 0 is all (0)"),
        ("top-p", float, "keep the most probable tokens up to this probability (1)"),
        ("min-p", float, "keep tokens at least this fraction as probable as the best (0)"),
        ("repetition-penalty", float, "above 1 makes seen tokens less likely (1)"),
        ("seed", int, "start of the random numbers; another each time where not given"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_argument(
        "--context", type=int, help="capacity in tokens; the model's maximum where not given"
    )
    fit_option(parser)
    _common_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    from edgellm.runner.generate import Ending, Generation
    from edgellm.runner.sampling import Sampling
    from edgellm.runner.text import prompt_ids

    fields = [field.name for field in dataclasses.fields(Sampling)]
    sampling = Sampling(**{name: getattr(arguments, name) for name in fields})
    prompt = prompt_text(arguments)
    stops = tuple(_text(stop, "--stop") for stop in arguments.stop)
    # What a cache could hold costs nothing until it is used.
    wanted = arguments.context or fit.DEFAULT_CONTEXT + arguments.max_tokens
    demand_memory(arguments, runtime.read_manifest(arguments.bundle), wanted)
    bundle, session, load_ns = _open(arguments, arguments.context)
    model = bundle.manifest.model
    ending = Ending(model.stop_token_ids, stops, arguments.max_tokens)
    chat = None if arguments.raw else bundle.manifest.chat
    system = None if arguments.system is None else _text(arguments.system, "--system")
    ids = prompt_ids(bundle.tokenizer, prompt, chat, system)
    generation = Generation(session, bundle.tokenizer, ids, ending, sampling)
    for piece in generation:
        if not arguments.json:
            print(piece, end="", flush=True)
    result = generation.result
    if arguments.json:
        print(json.dumps(_facts(result, load_ns), ensure_ascii=False))
    else:
        print(flush=True)
        print(_summary(result), file=sys.stderr)


def prompt_text(arguments: argparse.Namespace) -> str:
    """Return the text to answer: an option's, a file's, or what is on stdin.

    Raises:
        UsageError: There is none, or it is not UTF-8.
    """
    from edgellm.runner.text import from_utf8

    if arguments.prompt is not None:
        return _text(arguments.prompt, "--prompt")
    if arguments.prompt_file is not None:
        try:
            data, source = arguments.prompt_file.read_bytes(), str(arguments.prompt_file)
        except OSError as error:
            raise UsageError(
                f"{arguments.prompt_file} cannot be read ({error.strerror}): give a text file"
            ) from None
    else:
        if sys.stdin.isatty():
            raise UsageError(
                "there is no prompt: give --prompt TEXT, --prompt-file FILE, or a pipe"
            )
        data, source = sys.stdin.buffer.read(), "the prompt on stdin"
    return from_utf8(data, source).removesuffix("\n")  # the end of a text file's last line


def _text(argument: str, name: str) -> str:
    """Return a command line's text, whose bytes Python lets through as they are."""
    from edgellm.runner.text import from_utf8

    return from_utf8(os.fsencode(argument), name)


def _facts(result: Result, load_ns: int) -> dict[str, Any]:
    return {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "prompt_tokens": len(result.prompt_ids),
        "output_tokens": len(result.output_ids),
        "output_ids": result.output_ids,
        "seed": result.seed,
        "load_ns": load_ns,
        "prefill_ns": result.prefill_ns,
        "decode_ns": result.decode_ns,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _summary(result: Result) -> str:
    prompt, steps = len(result.prompt_ids), len(result.output_ids) - 1
    parts = [f"prompt {prompt} tokens, {prompt / result.prefill_ns * 1e9:.0f} tok/s"]
    if steps > 0:
        parts.append(f"answer {steps + 1} tokens, {steps / result.decode_ns * 1e9:.1f} tok/s")
    parts.append(f"ended by {result.finish_reason}")
    return f"[{'; '.join(parts)}]"


# selftest, bench, inspect ------------------------------------------------------------------


def _selftest(arguments: argparse.Namespace) -> None:
    from edgellm.runner import parity
    from edgellm.runner.load import open_bundle

    pin(arguments)
    told = progress()
    bundle = open_bundle(arguments.bundle, check=not arguments.no_check, progress=told)
    found = parity.measure_parity(bundle, threads=arguments.threads, progress=told)
    if arguments.json:
        print(json.dumps({"met": found.met, **codec.to_json(found)}))
    else:
        print("\n".join(parity.describe(found)))
    if found.met is False:
        raise ParityExceeded(
            f"{bundle.path} does not answer here as on the machine that made it "
            f"({found.made_on}): {next(found.faults())}; make the bundle on a machine like this "
            "one, or report it"
        )


def _inspect(arguments: argparse.Namespace) -> None:
    from edgellm.runner import inspect_text
    from edgellm.runner.load import open_bundle

    bundle = open_bundle(arguments.bundle, check=not arguments.no_check, progress=progress())
    if arguments.json:
        print(codec.dumps(bundle.manifest), end="")
    else:
        print(inspect_text.render(bundle.path, bundle.manifest))


# What they share ---------------------------------------------------------------------------


def _common_options(parser: argparse.ArgumentParser) -> None:
    machine_options(parser)
    _file_options(parser)


def _file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-check", action="store_true", help="trust the weights' SHA-256")
    json_option(parser)


def _open(arguments: argparse.Namespace, context: int | None) -> tuple[Bundle, Session, int]:
    """Open the bundle and its model; return also how long that took, in nanoseconds."""
    from edgellm.runner.load import open_bundle

    pin(arguments)
    start_ns = time.perf_counter_ns()
    bundle = open_bundle(arguments.bundle, check=not arguments.no_check, progress=progress())
    session = bundle.session(threads=arguments.threads, context=context)
    return bundle, session, time.perf_counter_ns() - start_ns


def _start(asked: Mapping[str, Any]) -> None:
    """Run a command that was parsed on the host, see :mod:`edgellm.runner.board_command`."""
    options = dict(asked["options"])
    if "bundle" in options:
        options["bundle"] = Path(options["bundle"])
        _equip(options["bundle"], COMMANDS[asked["command"]])
    COMMANDS[asked["command"]].execute(argparse.Namespace(**options))


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "Answer a prompt, shown as it comes.",
        _run_options,
        _run,
        (
            '--prompt "What is a clock cycle?"',
            "--prompt-file question.txt --temperature 0.7 --seed 1",
        ),
    ),
    "selftest": Command(
        "Replay the golden tokens: does this machine answer like the one that made the bundle?",
        _common_options,
        _selftest,
        ("", "--threads 1"),
    ),
    "bench": Command(
        bench_command.HELP,
        bench_command.add_options,
        bench_command.execute,
        (
            "-o report.json",
            "--depth 0,512 --threads 1 -o report.json",
            "--clock",
        ),
    ),
    "inspect": Command(
        "Check every file, and show what the bundle says of itself.",
        _file_options,
        _inspect,
        ("", "--json"),
    ),
    "install": Command(
        install_command.HELP,
        install_command.add_options,
        install_command.execute,
        ("",),
        needs_packages=False,
    ),
    "doctor": Command(
        doctor_command.HELP,
        doctor_command.add_options,
        doctor_command.execute,
        ("", "--json"),
        takes_bundle=False,
    ),
    "board": Command(
        board_command.HELP,
        board_command.add_options,
        functools.partial(board_command.execute, start=_start),
        (),
        takes_bundle=False,
    ),
}

if __name__ == "__main__":
    main()
