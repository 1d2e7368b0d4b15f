"""The command ``board``: what runs on a board for ``edgellm deploy`` and ``--on HOST``.

Each operation reads a line of JSON on stdin, then signs of life. A stdin that ends, or that is
silent for :data:`SILENCE_S`, is a host that was interrupted or a connection that is gone: nothing
is left running then.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import edgellm
from edgellm.errors import EdgellmError

HELP = "Serve edgellm deploy and --on HOST, which start it."
OPERATIONS = ("hold", "supervise", "execute")
SILENCE_S = 30.0
TERMINATE_S = 5.0  # what a child has to end well, before it is killed
POLL_S = 0.5
GOODBYE = b"done"
STDIN = 0
# The first that one may write in; the lock is meant to be seen by all users.
LOCK_FOLDERS = ("/run/lock", "/tmp", str(Path.home()))  # noqa: S108 - no secret, no trust in it
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Start = Callable[[dict[str, Any]], None]
"""Runs a command of the runner from what was asked."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``board``."""
    parser.add_argument("operation", choices=OPERATIONS)


def execute(arguments: argparse.Namespace, start: Start) -> None:
    """Do one operation.

    Args:
        arguments: Which.
        start: How ``execute`` runs a command.

    Raises:
        EdgellmError: As the command.
    """
    if arguments.operation == "hold":
        _hold(_asked(), _lock_path())
    elif arguments.operation == "supervise":
        sys.exit(_supervise(json.dumps(_asked()).encode()))
    else:
        # Where even the supervisor is killed, the kernel tells us.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        start(json.load(sys.stdin))


def _asked() -> Any:
    with open(STDIN, "rb", buffering=0, closefd=False) as stdin:
        return json.loads(stdin.readline())


def _host_left() -> bool:
    """Wait until the host says goodbye or is gone; return whether it is gone."""
    while select.select([STDIN], [], [], SILENCE_S)[0]:
        said = os.read(STDIN, 4096)
        if not said or GOODBYE in said:
            return not said
    return True


# hold --------------------------------------------------------------------------------------


def _lock_path() -> Path:
    """Return the file that stands for this board, for all its users; EDGELLM_LOCK overrides it."""
    given = os.environ.get("EDGELLM_LOCK")
    folder = next(folder for folder in LOCK_FOLDERS if os.access(folder, os.W_OK))
    return Path(given) if given else Path(folder) / "edgellm-board.lock"


def _shared(path: str, flags: int) -> int:
    """Open a file that all users may write, as Linux lets them in a folder that all share.

    There only the owner may open a file with O_CREAT (fs.protected_regular).
    """
    try:
        return os.open(path, flags & ~os.O_CREAT)
    except FileNotFoundError:
        made = os.open(path, flags, 0o666)
        os.fchmod(made, 0o666)  # whatever the umask
        return made


def _hold(asked: dict[str, Any], path: Path) -> None:
    """Keep the board for one user: ``asked`` has ``who`` and whether to ``wait``.

    Says ``{"holder": ..., "seconds": ...}`` while somebody else has it, then ``{}``.
    """
    with open(path, "a+", encoding="utf-8", opener=_shared) as file:
        told = False
        while not _locked(file):
            if not told:
                file.seek(0)
                held_s = round(time.time() - path.stat().st_mtime)
                print(json.dumps({"holder": file.read(), "seconds": held_s}), flush=True)
                told = True
            if not asked["wait"] or _ended(POLL_S):
                return
        file.truncate(0)
        file.write(asked["who"])
        file.flush()
        print("{}", flush=True)
        if _host_left():
            time.sleep(TERMINATE_S)  # what it ran may take so long to end
        file.truncate(0)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ended(timeout_s: float) -> bool:
    """Return whether stdin ended, within a time."""
    start = time.monotonic()
    while select.select([STDIN], [], [], max(0.0, start + timeout_s - time.monotonic()))[0]:
        if not os.read(STDIN, 4096):
            return True
    return False


# supervise ---------------------------------------------------------------------------------


def _supervise(request: bytes) -> int:
    """Run a command in a process of its own, which does not outlive the host's connection."""
    program = str(Path(edgellm.__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, program, "board", "execute"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its status says why
            child.stdin.write(request)
            child.stdin.close()
        threading.Thread(target=_follow, args=(child,), daemon=True).start()
        status = child.wait()
    finally:
        _end(child)
    if status >= 0:
        return status
    name = signal.Signals(-status).name
    hint = ": the memory may be too small for it" if -status == signal.SIGKILL else ""
    raise EdgellmError(f"the runner was ended by {name}{hint}")


def _follow(child: subprocess.Popen[bytes]) -> None:
    _host_left()
    _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(TERMINATE_S)
            return
