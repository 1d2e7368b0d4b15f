"""What reaches a board: a bundle, and numpy, onnxruntime and tokenizers beside the interpreter."""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import pytest

from edgellm.bundle.build import Board, build_bundle
from edgellm.errors import DoesNotFit
from edgellm.records.target import Software, Target

PACKAGES = ("numpy", "onnxruntime", "tokenizers")
ARGUMENTS = ("run", "--prompt", "hi", "--max-tokens", "4", "--json")

# Runs a program as if nothing else were installed, and says what was loaded nevertheless.
ALONE = f"""
import runpy, sys

KNOWN = {{*sys.stdlib_module_names, *{PACKAGES}, "edgellm", "__main__"}}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in KNOWN:
            raise ModuleNotFoundError(f"{{name}} is not on a board", name=name)

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(sys.modules["edgellm"].__file__, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def bundles(tiny_stage, tmp_path_factory):
    place = tmp_path_factory.mktemp("board")
    build_bundle(tiny_stage, place / "m")
    build_bundle(tiny_stage, place / "m.edgellm")
    return place


def run(*arguments, cwd):
    """Run a command without the variables that would show Python this checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        list(map(str, arguments)), cwd=cwd, env=kept, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("program", "bundle"), [("m/runner.pyz", "m"), ("m/runner.pyz", "m.edgellm")]
)
def test_the_bundles_own_runner_needs_three_packages(bundles, program, bundle):
    done = run(sys.executable, "-P", "-c", ALONE, program, bundle, *ARGUMENTS, cwd=bundles)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output_tokens"] == 4
    assert str(bundles / program) in str(bundles / done.stderr.splitlines()[-1])


@pytest.mark.parametrize("program", ["m/runner.pyz", "m.edgellm"])
def test_a_program_that_lies_in_its_bundle_needs_no_argument(bundles, program):
    done = run(sys.executable, "-P", program, *ARGUMENTS, cwd=bundles)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output_tokens"] == 4


def test_a_bundle_works_where_it_was_moved_to(bundles, tmp_path):
    shutil.copyfile(bundles / "m.edgellm", tmp_path / "another name.zip")

    done = run(sys.executable, "-P", "another name.zip", "selftest", cwd=tmp_path)

    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error(bundles):
    done = run(
        *("bash", "-c", 'set -o pipefail; "$0" -P m.edgellm inspect --json | true; exec true'),
        sys.executable,
        cwd=bundles,
    )

    assert done.stderr == ""


@pytest.fixture(scope="module")
def board(tiny_stage, tmp_path_factory):
    """Give a machine with Python alone, a bundle that brings the packages, and how to run it."""
    python = os.environ["EDGELLM_BOARD_PYTHON"]  # scripts/check_board
    place = tmp_path_factory.mktemp("bare")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    target = Target("here", "Here", platform.machine(), software=Software(python=(version,)))
    for name in ("m", "m.edgellm"):
        build_bundle(tiny_stage, place / name, board=Board(target, wheels=True))

    def start(*arguments, home="home"):
        environment = {"PATH": "/usr/bin:/bin", "EDGELLM_HOME": str(place / home)}
        return subprocess.run(
            list(map(str, (python, *arguments))),
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


@pytest.mark.board
def test_a_board_with_nothing_is_told_to_install(board):
    done = board("m.edgellm", *ARGUMENTS, home="nothing")

    assert done.returncode == DoesNotFit.exit_code
    said = "edgellm-run: this machine lacks numpy, onnxruntime, tokenizers: install them by python3"
    assert done.stderr == f"{said} m.edgellm install\n"


@pytest.mark.board
@pytest.mark.parametrize(
    "command",
    [
        ARGUMENTS,
        ("run", "--prompt", "hi", "--temperature", "1", "--seed", "1", "--max-tokens", "4"),
        ("selftest",),
        ("inspect",),
        ("bench", "--prompt-tokens", "8", "--output-tokens", "4", "--repetitions", "1"),
        ("doctor",),
    ],
    ids=lambda command: command[0],
)
def test_pain_02_what_install_unpacks_is_all_that_a_board_needs(board, command):
    assert board("m.edgellm", "install").returncode == 0

    done = board("m.edgellm", *command)

    assert done.returncode == 0, done.stderr


@pytest.mark.board
def test_pain_06_the_installed_size_is_said_and_below_120_mb(board):
    done = board("m/runner.pyz", "install", "--json")

    said = json.loads(done.stdout)
    found = sum(
        path.stat().st_size
        for path in pathlib.Path(said["path"]).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    assert said["bytes"] == found < 120_000_000
    assert set(said["versions"]) == set(PACKAGES)


@pytest.mark.board
def test_a_folder_is_installed_by_its_script(board, tmp_path):
    # The script looks for a Python on PATH.
    (tmp_path / "python3").symlink_to(os.environ["EDGELLM_BOARD_PYTHON"])
    done = board(
        *(
            "-c",
            "import os, sys; os.environ['PATH'] += ':' + sys.argv[1]; os.execlp(*sys.argv[2:])",
        ),
        *(tmp_path, "sh", "sh", "m/install"),
    )

    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
