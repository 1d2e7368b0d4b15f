"""Programs on emulated cores; scripts/check_emulation makes what they need."""

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROVE_DEPLOY = ROOT / "scripts/emulation/prove_deploy"
SETTINGS = ("counters", "no-pmu", "refused")
EMULATED_PYTHON = ROOT / "scripts/emulation/python3"
FORMS = {
    "cortex-a53": "int8",
    "cortex-a72": "int8",
    "cortex-a76": "int8",
    "max,sme=off": "int4",  # with i8mm, bf16 and sve
}
# Where two tokens are nearly level, rounding decides, and that differs from core to core; on this
# prompt all cores were seen to say the same.
PROMPT = ("run", "--prompt", "What is gravity?", "--max-tokens", "8", "--json")
# Linux, arch/arm64/include/uapi/asm/hwcap.h
HWCAPS = {"fp": 0, "asimd": 1, "crc32": 7, "asimdhp": 10, "asimddp": 20, "sve": 22}
LIMIT_S = 400  # ten times what the longest takes on a quiet machine


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    core: str
    command: str
    code: int | None  # None: it hung
    out: str
    err: str

    def succeeded(self):
        """Return what it printed."""
        assert self.code == 0, f"{self.core}: {self.end}: {self.command}\n{self.err[-2000:]}"
        return self.out

    @property
    def end(self):
        if self.code is None:
            return f"hung for {LIMIT_S} s"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


def start(core, python, *arguments, **variables):
    """Run a Python; nothing of this environment leads it to other packages."""
    names = ("PATH", "HOME", "XDG_CACHE_HOME")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    command = [str(python), *map(str, arguments)]
    shown = shlex.join([*(f"{name}={value}" for name, value in variables.items()), *command])
    try:
        done = subprocess.run(
            command,
            env=kept | {name: str(value) for name, value in variables.items()},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(core, shown, None, "", (error.stderr or b"").decode())
    return Outcome(core, shown, done.returncode, done.stdout, done.stderr)


def on_host(*arguments, **variables):
    return start("host", sys.executable, *arguments, **variables)


def on_core(core, *arguments, **variables):
    return start(core, EMULATED_PYTHON, *arguments, QEMU_CPU=core, **variables)


def journey(core, bundle, home):
    """Take a bundle to a core that has Python and nothing else."""
    board = {"PYTHONPATH": "", "EDGELLM_HOME": home}
    commands = {"install": ("install",), "selftest": ("selftest",), "run": PROMPT}
    return {
        name: on_core(core, bundle, *command, **board) for name, command in commands.items()
    } | {"host": on_host(bundle, *PROMPT)}


@pytest.fixture(scope="session")
def prepared():
    """Give the folder that scripts/check_emulation filled."""
    return Path(os.environ["EDGELLM_EMULATION"])


@pytest.fixture(scope="session")
def pool():
    """Run as much at once as this machine has cores."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        yield executor


@pytest.fixture(scope="session")
def deployment(prepared, pool):
    """Deploy to an emulated board; begun first, since it takes longest."""
    command = [sys.executable, PROVE_DEPLOY, prepared / "int8.edgellm", *SETTINGS]
    run = functools.partial(subprocess.run, stderr=subprocess.STDOUT, text=True, check=False)
    return pool.submit(run, command, stdout=subprocess.PIPE)


@pytest.fixture(scope="session")
def journeys(prepared, pool, deployment, tmp_path_factory):
    """Start every core's journey."""
    homes = tmp_path_factory.mktemp("homes")
    return {
        core: pool.submit(journey, core, prepared / f"{form}.edgellm", homes / core)
        for core, form in FORMS.items()
    }


@pytest.fixture(params=FORMS)
def core(request):
    """Give the name of a core, one after the other."""
    return request.param


@pytest.fixture
def taken(journeys, core):
    """Give what came of a core's journey, by command."""
    return journeys[core].result()


@pytest.fixture(scope="session")
def features():
    """Give the SIMD features that the kernel names to a program on a core."""

    def read(core):
        program = "import ctypes; print(ctypes.CDLL(None).getauxval(16))"  # AT_HWCAP
        bits = int(on_core(core, "-c", program).succeeded())
        return {name for name, bit in HWCAPS.items() if bits >> bit & 1}

    return read


@pytest.fixture(scope="session")
def emulated_python():
    """Give the program that is Python on the core that QEMU_CPU names."""
    return EMULATED_PYTHON


@pytest.fixture(scope="session")
def operators(tmp_path_factory):
    """Run models on a core, or on the host where it is None; give what each gave."""

    def run(core, *models):
        arguments = (Path(__file__).with_name("operators.py"), *models)
        if core is None:
            return json.loads(on_host(*arguments).succeeded())
        counts = tmp_path_factory.mktemp("counts") / "instructions"
        done = on_core(core, *arguments, EDGELLM_INSTRUCTIONS=counts)
        return json.loads(done.succeeded())

    return run
