"""A board to deploy to: a real sshd on this machine, of this user, with a home of its own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.remote.hosts import Entry, Host
from edgellm.remote.ssh import Connection

SSHD = "/usr/sbin/sshd"
NAME = "bench-board"


def children(pid: int) -> list[int]:
    """Return the processes below ``pid``."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found += [int(status.parent.name), *children(int(status.parent.name))]
    return found


class Machine:
    """A board with sshd, which can be switched off and on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "edgellm"
        self.lock = folder / "lock"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host_key\n"
            f"AuthorizedKeysFile {folder}/user_key.pub\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
            f"SetEnv EDGELLM_LOCK={folder}/lock\n"  # each board of the tests is one by itself
        )
        (folder / "ssh_config").write_text(
            f"Host {NAME}\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/user_key\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
            f" UserKnownHostsFile {folder}/known\n LogLevel ERROR\n"
        )
        self.host = Host(
            NAME,
            Entry(config=str(folder / "ssh_config"), python=sys.executable, home=str(self.home)),
        )

    def on(self) -> None:
        """Start sshd and wait until it listens."""
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"sshd does not listen: {(self.folder / 'log').read_text()}")

    def off(self) -> None:
        """End sshd and all that runs below it, as a power cut does."""
        running = self.running()
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.kill(running)

    def cut(self) -> None:
        """End every connection, and nothing else: what ran there must notice by itself."""
        self.kill([pid for pid in self.running() if b"sshd" in self.command(pid)])

    def running(self) -> list[int]:
        """Return the processes on the board."""
        return children(self._process.pid) if self._process else []

    def programs(self) -> list[bytes]:
        """Return the commands that run on the board, apart from sshd's."""
        return [line for pid in self.running() if b"sshd" not in (line := self.command(pid))]

    @staticmethod
    def command(pid: int) -> bytes:
        """Return the command line of a process; empty where it has ended."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return b""

    @staticmethod
    def kill(pids: list[int]) -> None:
        """Kill processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Give a board that is on."""
    if not Path(SSHD).exists() or not shutil.which("ssh"):
        pytest.skip(f"needs OpenSSH's server and client: there is no {SSHD} or no ssh")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own, which it wants when root starts it
    folder = tmp_path / "board"
    folder.mkdir()
    made = Machine(folder)
    made.on()
    yield made
    made.off()


@pytest.fixture
def said() -> list[str]:
    """Give the list of what the connection of a test says."""
    return []


@pytest.fixture
def connection(machine: Machine, said: list[str]) -> Iterator[Connection]:
    """Give a connection to the board."""
    with Connection(machine.host, said.append) as made:
        yield made


@pytest.fixture(scope="session")
def bundle(tiny_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bundle of a tiny model, in one file."""
    return build_bundle(tiny_stage, tmp_path_factory.mktemp("bundle") / "tiny.edgellm").path
