"""A bundle onto a board: what is missing is copied, its packages are installed, it is checked."""

import argparse
import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgellm.bundle.runner_archive import runner_archive
from edgellm.errors import BundleInvalid, EdgellmError, RemoteError
from edgellm.records import codec, fit
from edgellm.records.fit import BoardFacts
from edgellm.records.manifest import MANIFEST_FILE, BundleManifest
from edgellm.records.progress import Progress, silent
from edgellm.records.report import Report
from edgellm.remote.board import Blob, Board, Facts
from edgellm.remote.run import Agent, Done, Hold
from edgellm.remote.ssh import Connection, Say
from edgellm.report.interleave import BY_EXIT_CODE
from edgellm.runner import runtime
from edgellm.runner.__main__ import parser_of
from edgellm.runner.members import Member, members

OLDEST_PYTHON = (3, 11)
# What a file that a bad card damaged looks like: one of the bundle's, or one of its packages'.
MENDED = (BundleInvalid.exit_code, EdgellmError.exit_code)
UNFIT = ("--no-fit-check",)


@dataclass(frozen=True, slots=True)
class Local:
    """A bundle here: what it says, and its files as they are sent."""

    path: Path
    manifest: BundleManifest
    blobs: tuple[Blob, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all its files."""
        return sum(blob.content.size for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Visit:
    """A board that was reached, with our runner on it; ``facts`` is how it was found."""

    board: Board
    facts: Facts
    agent: Agent


@dataclass(frozen=True, slots=True)
class Deployed:
    """A bundle that is on a board, whole.

    Attributes:
        path: Its folder there.
        sent_bytes: What was copied of it.
        total_bytes: Its size.
        wall_s: How long copying and installing took.
    """

    path: str
    sent_bytes: int
    total_bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a bundle must fit a board for: ``context`` tokens, a short conversation where None."""

    context: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a deployment does.

    Attributes:
        needs: What must fit; None to go on whatever fits.
        selftest: Replay the golden tokens.
        bench: Options of the bench that follows; None for none.
        wait: Wait for whoever uses the board; else that is an error.
    """

    needs: Needs | None = Needs()
    selftest: bool = True
    bench: tuple[str, ...] | None = None
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a deployment; None for what was not wanted."""

    deployed: Deployed
    selftest: str | None
    report: Report | None


def deploy(
    connection: Connection, bundle: Local, wanted: Wanted, hear: Say, progress: Progress = silent
) -> Outcome:
    """Bring a bundle to a board, check it there, and measure it.

    Args:
        connection: To the board; it is closed at the end.
        bundle: The bundle.
        wanted: What to do.
        hear: Called with each line that the bench says.
        progress: Told about the copy.

    Raises:
        EdgellmError: Which step failed, and why.
    """
    with (
        visit(connection, bundle, wanted.needs) as there,
        Hold(there.agent, "edgellm deploy", wait=wanted.wait) as hold,
    ):
        deployed = bring(there, hold, bundle, progress)
        said = selftest(there, hold, bundle, deployed) if wanted.selftest else None
        if wanted.bench is None:
            return Outcome(deployed, said, None)
        hold.ensure()
        context = wanted.needs and wanted.needs.context
        more = [*UNFIT] if wanted.needs is None else []
        more += ["--context", str(context)] if context else []
        options = shipped("bench", deployed.path, (*more, *wanted.bench))
        return Outcome(deployed, said, bench(there, options, hear))


def read_bundle(path: Path) -> Local:
    """Read what a bundle says of itself, and where its files lie.

    Raises:
        UsageError: ``path`` does not exist or is no bundle.
        BundleInvalid: It is incomplete, damaged or too new.
    """
    found = members(path)
    data = found[MANIFEST_FILE].read()
    manifest = codec.loads(BundleManifest, data, f"{path}: {MANIFEST_FILE}")
    blobs = [Blob(MANIFEST_FILE, hashlib.sha256(data).hexdigest(), found[MANIFEST_FILE])]
    for entry in manifest.files:
        member = found.get(entry.path)
        if member is None or member.size != entry.bytes:
            raise BundleInvalid(f"{path}: {entry.path} is missing or cut off, make it again")
        blobs.append(Blob(entry.path, entry.sha256, member))
    return Local(path, manifest, tuple(blobs))


@contextlib.contextmanager
def visit(
    connection: Connection, bundle: Local | None = None, needs: Needs | None = None
) -> Iterator[Visit]:
    """Reach a board, see whether what is wanted fits it, and bring our runner to it.

    Args:
        connection: To the board; it is closed at the end.
        bundle: What is to run there, if anything is.
        needs: What it must fit for; None where that is not asked.

    Raises:
        RemoteError: The board cannot be reached, or has no Python that is new enough.
        DoesNotFit: The bundle does not fit; nothing was copied.
    """
    with connection, tempfile.TemporaryDirectory() as scratch:
        board = Board(connection)
        facts = connection.patiently(board.probe)
        if bundle and needs:
            _demand_fit(board, facts, bundle, needs.context)
        _demand_python(board.name, facts)
        archive = Path(scratch) / "runner.pyz"
        archive.write_bytes(runner_archive())
        content = Member(archive, 0, archive.stat().st_size)
        blob = Blob(archive.name, content.sha256(), content)
        board.send([blob])
        yield Visit(board, facts, Agent(board, facts.home, blob.sha256))


def _demand_fit(board: Board, facts: Facts, bundle: Local, context: int | None) -> None:
    manifest = bundle.manifest
    found = BoardFacts(
        name=board.name,
        arch=facts.machine,
        bits=facts.bits,
        python=facts.python_version,
        glibc=facts.glibc or "",
        features=facts.features,
        memory_bytes=facts.memory_bytes,
        memory_available_bytes=facts.available_bytes,
        disk_free_bytes=facts.free_bytes,
    )
    missing = board.lacking_bytes(bundle.blobs)
    if not _equipped(facts, manifest):
        wheels = runtime.suiting(manifest.wheels, facts.python_version, facts.machine)
        missing += sum(wheel.installed_bytes for wheel in wheels)
    fit.demand(found, manifest, context=context, disk_bytes=missing)


def _demand_python(name: str, facts: Facts) -> None:
    if facts.python < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise RemoteError(
            f"{name} has Python {facts.python_version}, the runner needs {oldest} or newer: "
            "upgrade its system, or name another Python in hosts.toml"
        )


def _equipped(facts: Facts, manifest: BundleManifest) -> bool:
    """Return whether the packages that a bundle brings are unpacked there."""
    return runtime.place_name(manifest, facts.python_version, facts.machine) in facts.runtimes


def bring(
    there: Visit, hold: Hold, bundle: Local, progress: Progress = silent, *, mend: bool = False
) -> Deployed:
    """Make a bundle be on a board, with the packages that it carries.

    Args:
        there: The board.
        hold: Its lock, taken again where the connection was lost.
        bundle: The bundle.
        progress: Told about the copy.
        mend: Hold what is there against what it was; else what is there is believed.

    Raises:
        BundleInvalid: The bundle is damaged here.
        RemoteError: The board cannot be reached, or cannot take it.
    """
    start = time.monotonic()
    if mend:
        there.board.discard_damaged(bundle.manifest.digest, bundle.blobs)
    sent = there.board.send(bundle.blobs, lambda: hold.ensure(patient=False), progress)
    digest = bundle.manifest.digest
    if mend or digest not in there.facts.bundles:
        there.board.assemble(digest, {blob.name: blob.sha256 for blob in bundle.blobs})
    path = f"{there.facts.home}/bundles/{digest}"
    if bundle.manifest.wheels and (mend or not _equipped(there.facts, bundle.manifest)):
        hold.ensure()
        # Whether it fits was asked before the copy.
        demand(there, there.agent.run("install", shipped("install", path, UNFIT)))
    return Deployed(path, sent, bundle.bytes, time.monotonic() - start)


def selftest(there: Visit, hold: Hold, bundle: Local, deployed: Deployed) -> str:
    """Replay the golden tokens on a board; what turns out to be damaged there is sent again.

    Returns:
        What the self-test says.

    Raises:
        ParityExceeded: The board answers otherwise.
        EdgellmError: It does not answer, with the class of what it said.
    """
    options = shipped("selftest", deployed.path)
    done = there.agent.run("selftest", options)
    if done.status in MENDED:
        there.board.connection.say(
            f"{there.board.name}: {done.sentence}; what is damaged there is sent again"
        )
        bring(there, hold, bundle, mend=True)
        done = there.agent.run("selftest", options)
    demand(there, done)
    return done.stdout.decode()


def bench(there: Visit, options: Mapping[str, Any], hear: Say) -> Report:
    """Measure on a board, and return the report.

    Args:
        there: The board.
        options: From :func:`shipped`.
        hear: Called with each line of progress.

    Raises:
        EdgellmError: It was not measured, with the class of what the board said.
    """
    # How it is shown, and where it is kept, is decided here.
    ours = {"json": True, "output": None, "force": False, "clock": False}
    done = there.agent.run("bench", {**options, **ours}, hear=hear)
    demand(there, done)
    return codec.loads(Report, done.stdout, f"the report of {there.board.name}")


def shipped(command: str, bundle: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parsed options of a runner's command, as a board takes them."""
    return portable(parser_of(command).parse_args([bundle, *options]))


def portable(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return parsed options as JSON takes them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(parsed).items()
    }


def demand(there: Visit, done: Done) -> None:
    """Raise what a command said on a board, by the class of its exit status, where it failed."""
    if done.status:
        kind = BY_EXIT_CODE.get(done.status, EdgellmError)
        raise kind(f"{there.board.name}: {done.sentence}")
