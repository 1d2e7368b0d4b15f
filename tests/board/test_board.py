"""What reaches a board: a bundle, and numpy, onnxruntime and tokenizers beside the interpreter."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from edgellm.bundle.build import build_bundle

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


@pytest.mark.board
@pytest.mark.parametrize("command", [ARGUMENTS, ("selftest",), ("inspect",)])
def test_three_packages_without_their_dependencies_suffice(bundles, tmp_path, command):
    board = os.environ["EDGELLM_BOARD_PYTHON"]  # scripts/check_board

    done = run(board, bundles / "m/runner.pyz", *command, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
