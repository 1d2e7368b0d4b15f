"""The system's OpenSSH: one control connection to a host, and commands through it.

Nothing that a user can configure is overridden: configuration, keys, agents, jump hosts and
passwords are ssh's own affair. Only where neither the user nor the system sets them, a time limit
for connecting and a sign of life are added, so that a board without power is noticed.
"""

import collections
import contextlib
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

from edgellm.errors import RemoteError, RemoteFailed, RemoteUnreachable
from edgellm.remote.hosts import Host

T = TypeVar("T")
Say = Callable[[str], None]
"""Called with a line for the user."""

LOST = 255  # ssh's own exit status where it, not the command, failed
# What ssh says where trying again cannot help. Everything else may be a board that starts.
STABLE = (
    "Permission denied",
    "Host key verification failed",
    "HOST IDENTIFICATION HAS CHANGED",
    "Could not resolve hostname",
    "Too many authentication failures",
    "Bad configuration option",
    "Can't open user config file",
    "Bad local forwarding",
    "Bad port",
)
# What ssh -G shows where nobody has set it, and what is then taken.
DEFAULTS = {
    "connecttimeout none": "ConnectTimeout=15",
    "serveraliveinterval 0": "ServerAliveInterval=10",
}
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
LAST_LINES = 6
READY = b"ready\n"


class Patience:
    """How often, and after which pause, what may pass is tried again."""

    def __init__(self, say: Say, ended: threading.Event) -> None:
        self._say = say
        self._ended = ended
        self._left = list(PAUSES_S)

    def renew(self) -> None:
        """Begin anew, for something got better."""
        self._left = list(PAUSES_S)

    def wait(self, error: RemoteUnreachable) -> None:
        """Say what happened and pause; the pauses double.

        Raises:
            RemoteUnreachable: ``error`` itself, where it was tried often enough.
        """
        if not self._left:
            raise error
        pause = self._left.pop(0)
        self._say(f"{error}; trying again in {pause:.0f} s")
        if self._ended.wait(pause):
            raise error


class Session:
    """One command on the host, from :meth:`Connection.start`."""

    def __init__(
        self,
        connection: "Connection",
        command: Sequence[str],
        process: subprocess.Popen[bytes],
        hear: Say | None,
    ) -> None:
        self._connection = connection
        self._command = command
        self._process = process
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._hear = hear
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def stdin(self) -> IO[bytes]:
        """What the command reads."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What the command writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def alive(self) -> bool:
        """Whether the command may still run."""
        return self._process.poll() is None

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._last.append(text)
            if self._hear:
                self._hear(text)

    def say(self, data: bytes) -> None:
        """Write to the command's stdin at once; where it has ended, its status says why."""
        with contextlib.suppress(OSError):
            self.stdin.write(data)
            self.stdin.flush()

    def status(self) -> int:
        """Wait for the command's end and return its exit status.

        Raises:
            RemoteUnreachable: The connection was lost before.
            RemoteFailed: A signal ended the command.
        """
        status = self._process.wait()
        self._listener.join()
        if status == LOST and self._connection.stands():
            raise self.failed(status)  # ssh does not tell which signal it was
        if status == LOST or status < 0:
            raise _fault(self._connection.host, "the connection was lost")
        return status

    def check(self) -> None:
        """Wait for the command's end, which must be a good one.

        Raises:
            RemoteUnreachable: The connection was lost before.
            RemoteFailed: The command failed.
        """
        status = self.status()
        if status:
            raise self.failed(status)

    def failed(self, status: int) -> RemoteFailed:
        """Return the error of a command that ended with ``status``."""
        words = shlex.join(self._command)
        words = words if len(words) <= 60 else words[:57] + "..."
        how = "was killed" if status == LOST else f"ended with exit status {status}"
        said = "; ".join(line for line in self._last if line) or "it said nothing"
        return RemoteFailed(f"{self._connection.host.name}: {words} {how}: {said}", status)

    def last_words(self) -> str:
        """Return the last line that the command said on stderr."""
        return self._last[-1] if self._last else ""

    def end(self) -> None:
        """End the command: it loses its stdin and its connection."""
        self._process.terminate()
        with contextlib.suppress(OSError):  # what was not written yet is of no use any more
            self.stdin.close()
        self._listener.join()


class Connection:
    """A host that commands can be run on; everything of it ends with :meth:`close`."""

    def __init__(self, host: Host, say: Say) -> None:
        self.host = host
        self.say = say
        self._ended = threading.Event()
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def patience(self) -> Patience:
        """Return a new patience with this host."""
        return Patience(self.say, self._ended)

    def patiently(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; while the host cannot be reached, do it again.

        Raises:
            RemoteUnreachable: It stays so.
        """
        patience = self.patience()
        while True:
            try:
                return work()
            except RemoteUnreachable as error:
                patience.wait(error)

    def stands(self) -> bool:
        """Return whether the connection stands."""
        if self._master is None:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(0.5)  # it ends a moment after its sessions
        return self._master.poll() is None

    def open(self) -> None:
        """Connect, where that is not done.

        Raises:
            RemoteUnreachable: The host does not answer.
            RemoteError: ssh is not installed, or does not let us in.
        """
        if self._ended.is_set():
            raise RemoteUnreachable(f"{self.host.name}: interrupted")
        if not (self._master and self._master.poll() is None):
            self._open()

    def _open(self) -> None:
        """Start the master: an ssh that echoes, so that it ends when we do, however we end."""
        if not shutil.which("ssh"):
            raise RemoteError("there is no ssh here: install OpenSSH's client")
        self.close()
        # Short, for the path of a socket has at most 107 bytes, and TMPDIR may be long.
        self._folder = Path(tempfile.mkdtemp(prefix="edgellm-", dir="/tmp"))
        said = (self._folder / "said").open("w+b")
        options = [word for option in self._defaults() for word in ("-o", option)]
        options += ["-o", "ControlPersist=no", "-S", str(self._folder / "c"), "-M", "-T"]
        with said:
            self._master = subprocess.Popen(
                ["ssh", *options, *self.host.ssh_arguments, "cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            assert self._master.stdin is not None
            assert self._master.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                self._master.stdin.write(READY)
                self._master.stdin.flush()
            if self._master.stdout.readline() != READY:
                self._master.wait()
                said.seek(0)
                raise _fault(self.host, said.read().decode(errors="replace"))

    def _defaults(self) -> Iterator[str]:
        """Yield the options that nobody has set."""
        arguments = ["ssh", "-G", *self.host.ssh_arguments]
        asked = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if asked.returncode:
            raise _fault(self.host, asked.stderr)
        yield from (DEFAULTS[line] for line in asked.stdout.splitlines() if line in DEFAULTS)

    @contextlib.contextmanager
    def start(
        self,
        command: Sequence[str],
        *,
        stdout: int | None = subprocess.PIPE,
        hear: Say | None = None,
    ) -> Iterator[Session]:
        """Run a command on the host while the block runs.

        Args:
            command: Words; the host's shell sees them quoted.
            stdout: As of :class:`subprocess.Popen`.
            hear: Called with each line that it says on stderr.

        Yields:
            The session; when the block ends, the command has lost its stdin and its connection.

        Raises:
            RemoteUnreachable: The host does not answer.
        """
        self.open()
        # A proxy that fails: without the master it must not connect anew, and ask for a password.
        options = ["-S", str(self._folder) + "/c", "-o", "ControlMaster=no", "-T"]
        options += ["-o", "ProxyCommand=exit 1"]
        words = ["ssh", *options, *self.host.ssh_arguments, shlex.join(command)]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE
        ) as process:
            session = Session(self, command, process, hear)
            try:
                yield session
            finally:
                session.end()

    def call(self, command: Sequence[str], data: bytes = b"") -> bytes:
        """Run a command, give it ``data``, and return what it wrote.

        Raises:
            RemoteUnreachable: The connection was lost.
            RemoteFailed: The command failed.
        """
        with self.start(command) as session:
            with contextlib.suppress(BrokenPipeError):  # its status says why
                session.stdin.write(data)
                session.stdin.close()
            written = session.stdout.read()
            session.check()
            return written

    def abort(self) -> None:
        """End the connection from another thread; whoever uses it finds it lost for good."""
        self._ended.set()
        if self._master:
            self._master.terminate()

    def close(self) -> None:
        """End the connection and every command that runs through it."""
        if self._master:
            self._master.terminate()
            assert self._master.stdin is not None
            assert self._master.stdout is not None
            with contextlib.suppress(OSError):
                self._master.stdin.close()
            self._master.stdout.close()
            self._master.wait()
            self._master = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _fault(host: Host, said: str) -> RemoteError:
    """Return what ssh said as an error: transient, or not where trying again cannot help."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    sentence = f"{host.name}: {lines[-1] if lines else 'ssh ended without a word'}"
    if any(word in said for word in STABLE):
        return RemoteFailed(f"{sentence}; try: ssh {' '.join(host.ssh_arguments)}", LOST)
    return RemoteUnreachable(sentence)
