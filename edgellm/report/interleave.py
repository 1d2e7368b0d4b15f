"""Benches that take turns, repetition by repetition, so that a slow moment meets them all."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import edgellm
from edgellm.errors import EdgellmError, UsageError
from edgellm.records import codec
from edgellm.records.progress import Progress, silent
from edgellm.records.report import Report
from edgellm.runner import stats
from edgellm.runner.plan import MOST_REPETITIONS

LEAST_ROUNDS = 6  # with fewer, the signed-rank test of pairs cannot show a difference
WARMUPS = 1
RUNNER = (sys.executable, "-m", "edgellm.runner")
BY_EXIT_CODE = {kind.exit_code: kind for kind in EdgellmError.__subclasses__()}


def run_interleaved(
    bundles: Sequence[Path],
    options: Sequence[str] = (),
    *,
    least: int = LEAST_ROUNDS,
    time_limit_s: float = 60.0,
    precision: float = 0.01,
    progress: Progress = silent,
) -> tuple[Report, ...]:
    """Bench bundles in one process each, all loaded at once, one repetition of one at a time.

    The order turns round after each round (AB, BA, AB), so that none is always the first.

    Args:
        bundles: Two or more; the first is the reference.
        options: Further options of ``bench``, the same for all.
        least: Rounds that count, at least.
        time_limit_s: After so many seconds, and ``least`` rounds, it ends, precise or not.
        precision: It ends where the ratio of every bundle's decode time to the first's is known to
            +- this share of it.
        progress: Told after each round.

    Returns:
        A report of each, with the same ``interleaved``.

    Raises:
        UsageError: Fewer than two bundles.
        EdgellmError: A process failed, with its sentence and its class; the others are ended.
    """
    if len(bundles) < 2:
        raise UsageError("taking turns needs two bundles or more")
    text = f"{', '.join(path.name for path in bundles)} from {datetime.now(UTC).isoformat()}"
    shared = ["--warmup", str(WARMUPS), "--interleaved", text, *options]
    with contextlib.ExitStack() as stack:
        turns = [stack.enter_context(_child(path, shared)) for path in bundles]
        for turn in turns:
            turn.expect("ready")
        end = time.monotonic() + time_limit_s
        while True:
            kept = [turn.decode_ns[WARMUPS:] for turn in turns]
            rounds = len(kept[0])
            timely = time.monotonic() < end and rounds < MOST_REPETITIONS
            if rounds >= least and not (timely and _half_width(kept) > precision):
                return tuple(turn.report() for turn in turns)
            progress("taking turns, round", rounds, max(least, rounds + 1))
            for turn in reversed(turns) if rounds % 2 else turns:
                turn.repeat()


def _half_width(kept: Sequence[Sequence[int]]) -> float:
    """Return how far the ratio of any to the first may be off, as a share of it."""
    reference, *others = kept
    found = []
    for other in others:
        interval = stats.paired_ratio_interval(other, reference)
        found.append((interval.high - interval.low) / (interval.high + interval.low))
    return max(found)


class _Turn:
    """A bench of its own process that waits for its turn."""

    def __init__(self, bundle: Path, process: subprocess.Popen[str], said: IO[str]) -> None:
        self.decode_ns: list[int] = []
        self._bundle = bundle
        self._process = process
        self._said = said

    def expect(self, word: str) -> str:
        """Return what follows ``word`` on the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        said, _, rest = line.strip().partition(" ")
        if said != word:
            raise EdgellmError(
                f"the bench of {self._bundle} said {line.strip()!r} where {word!r} was due: "
                "report it"
            )
        return rest

    def repeat(self) -> None:
        """Run one repetition."""
        assert self._process.stdin is not None
        try:
            print(file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._failed() from None
        self.decode_ns.append(int(self.expect("done")))

    def report(self) -> Report:
        """End the bench and return its report."""
        text, _ = self._process.communicate()
        if self._process.returncode:
            raise self._failed()
        return codec.loads(Report, text, f"the report of {self._bundle}")

    def _failed(self) -> EdgellmError:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return EdgellmError(
                f"the bench of {self._bundle} was ended by {name}: free memory and try again, or "
                "bench it alone"
            )
        self._said.seek(0)
        lines = self._said.read().split("\n")
        sentence = next((line for line in reversed(lines) if line.strip()), f"exit status {code}")
        kind = BY_EXIT_CODE.get(code, EdgellmError)
        sentence = sentence.removeprefix("edgellm-run: ")
        named = str(self._bundle) in sentence
        return kind(sentence if named else f"{self._bundle}: {sentence}")


@contextlib.contextmanager
def _child(bundle: Path, options: Sequence[str]) -> Iterator[_Turn]:
    """Give a bench that waits; however the block ends, the process does not outlive it."""
    command = [*RUNNER, str(bundle), "bench", "--quick", "--no-parity", "--paced", *options]
    here = str(Path(edgellm.__file__).parents[1])  # the child is of this very edgellm
    paths = filter(None, [here, os.environ.get("PYTHONPATH")])
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        try:
            yield _Turn(bundle, process, said)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # a line that nobody reads any more
                process.communicate()
