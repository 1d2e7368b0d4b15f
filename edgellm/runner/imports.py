"""Whether the packages that the runner needs can be imported here, found out in a child process.

A wheel that was built for another core ends Python by a signal, so the question is never asked in
this process.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

PACKAGES = ("numpy", "onnxruntime", "tokenizers")
TIMEOUT_S = 120.0  # a cold import from an SD card takes tens of seconds
PROGRAM = "import {0}; print({0}.__version__)"
CORE = "its build uses instructions that this core lacks: install another version"
CRASHES = {signal.SIGILL: CORE, signal.SIGSEGV: CORE, signal.SIGKILL: "the memory ran out"}


@dataclass(frozen=True, slots=True)
class Imported:
    """One package.

    Attributes:
        package: Its name.
        version: None where it was not imported.
        problem: Why not, as a sentence.
        failed: It cannot be imported; False also where that could not be tried.
    """

    package: str
    version: str | None
    problem: str | None = None
    failed: bool = False


def probe(
    packages: Sequence[str] = PACKAGES,
    python: str = sys.executable,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Imported, ...]:
    """Import each package in a Python of its own.

    Args:
        packages: Their names.
        python: The program that runs them.
        timeout_s: When to give up on one.
    """
    return tuple(_probe(package, python, timeout_s) for package in packages)


def _probe(package: str, python: str, timeout_s: float) -> Imported:
    # -P: what lies in the working directory is not what is installed.
    command = [python, "-P", "-c", PROGRAM.format(package)]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Imported(package, None, f"its import took more than {timeout_s:.0f} s", failed=True)
    except OSError as error:
        why = f"not tried: no child process can start here, as under emulation ({error.strerror})"
        return Imported(package, None, why)
    if child.returncode < 0:
        crash = signal.Signals(-child.returncode)
        why = f"its import ends Python by {crash.name}"
        hint = CRASHES.get(crash)
        return Imported(package, None, f"{why}: {hint}" if hint else why, failed=True)
    if child.returncode:
        *_, last = child.stderr.strip().splitlines() or ["no reason given"]
        return Imported(package, None, last, failed=True)
    return Imported(package, child.stdout.strip())
