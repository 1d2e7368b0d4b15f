"""Commands of the runner on a board, and the lock that lets one user at a time measure there."""

import contextlib
import getpass
import json
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgellm.errors import RemoteError, RemoteUnreachable
from edgellm.remote.board import Board
from edgellm.remote.ssh import Say, Session

BEAT_S = 5.0  # the board gives up after six times as long without a sign of life


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: its exit status, what it wrote, and its last words."""

    status: int
    stdout: bytes
    last_words: str

    @property
    def sentence(self) -> str:
        """Return why it failed, as far as it said so."""
        said = self.last_words.removeprefix("edgellm-run: ")
        return said or f"it ended with exit status {self.status}"


@dataclass(frozen=True, slots=True)
class Agent:
    """The runner on a board, by the digest of its archive; ``home`` is as the probe found it."""

    board: Board
    home: str
    sha256: str

    def command(self, operation: str) -> Sequence[str]:
        """Return the words that start an operation of ``edgellm.runner.board_command``."""
        program = f"{self.home}/blobs/{self.sha256}"
        return self.board.python(program, "board", operation, home=self.home)

    def run(
        self,
        command: str,
        options: Mapping[str, Any],
        *,
        hear: Say | None = None,
        capture: bool = True,
    ) -> Done:
        """Run a command of the runner; when this ends, however it ends, so does the command.

        Args:
            command: Its name.
            options: Its parsed options, as JSON takes them.
            hear: Called with each line that it says on stderr.
            capture: Return what it writes to stdout; else that goes to this program's stdout.

        Raises:
            RemoteError: The connection was lost; or the runner was killed.
        """
        request = json.dumps({"command": command, "options": options}).encode()
        stdout = subprocess.PIPE if capture else None
        words = self.command("supervise")
        with (
            self.board.connection.start(words, stdout=stdout, hear=hear) as session,
            _beating(session, request),
        ):
            written = session.stdout.read() if capture else b""
            try:
                return Done(session.status(), written, session.last_words())
            except RemoteUnreachable as error:
                raise RemoteError(
                    f"{error} while {command} ran there; the board ends it by itself: run it again"
                ) from None


class Hold:
    """The lock of a board, which is taken again where the connection was lost.

    Args:
        agent: Of the board.
        what: What it is held for, such as ``edgellm bench``.
        wait: Wait for whoever holds it; else that is an error.
    """

    def __init__(self, agent: Agent, what: str, *, wait: bool) -> None:
        self._agent = agent
        who = f"{getpass.getuser()}@{platform.node()} ({what})"
        self._request = json.dumps({"who": who, "wait": wait}).encode()
        self._wait = wait
        self._stack = contextlib.ExitStack()
        self._session: Session | None = None

    def __enter__(self) -> "Hold":
        self.ensure()
        return self

    def __exit__(self, *_: object) -> None:
        if self._session and self._session.alive:
            self._session.say(b"done\n")
            with contextlib.suppress(RemoteError):  # released by the end of the connection then
                self._session.status()
        self._stack.close()

    def ensure(self, *, patient: bool = True) -> None:
        """Take the lock where it is not held.

        Args:
            patient: Try again where the board cannot be reached; else the caller does.

        Raises:
            RemoteError: Somebody else has it, or the board cannot be reached.
        """
        if self._session is None or not self._session.alive:
            if patient:
                self._agent.board.connection.patiently(self._take)
            else:
                self._take()

    def _take(self) -> None:
        self._stack.close()
        connection = self._agent.board.connection
        session = self._stack.enter_context(connection.start(self._agent.command("hold")))
        self._stack.enter_context(_beating(session, self._request))
        for line in session.stdout:
            answer = json.loads(line)
            if not answer:
                self._session = session
                return
            holder = f"{self._agent.board.name} is in use by {answer['holder']}"
            holder += f", for {answer['seconds']} s now"
            if not self._wait:
                raise RemoteError(f"{holder}: wait for it with --wait")
            connection.say(f"{holder}; waiting for it")
        session.check()
        raise RemoteError(f"{self._agent.board.name}: the lock was not given, try again")


@contextlib.contextmanager
def _beating(session: Session, request: bytes) -> Iterator[None]:
    """Send a request, then signs of life until the block ends."""
    session.say(request + b"\n")
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            session.say(b"\n")

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
