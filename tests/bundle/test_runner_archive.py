import ast
import io
import subprocess
import sys
import time
import zipfile

from edgellm.bundle.runner_archive import SHEBANG, START, ring_sources, runner_archive
from edgellm.errors import DoesNotFit


def test_the_bytes_depend_on_the_sources_alone(monkeypatch):
    first = runner_archive()
    monkeypatch.setattr(time, "time", lambda: 2e9)

    assert runner_archive() == first
    assert first.startswith(SHEBANG)


def test_the_archive_holds_the_light_ring_and_no_more():
    with zipfile.ZipFile(io.BytesIO(runner_archive())) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())

    packages = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert packages == {"records", "measure", "runner"}
    assert {"__main__.py", "edgellm/__init__.py", "edgellm/errors.py"} <= names
    assert names == set(ring_sources())


def run_start(tmp_path, **changes):
    """Run the archive's first lines under a Python that says something else of itself."""
    lines = [f"import sys; sys.{name} = {value!r}" for name, value in changes.items()]
    program = tmp_path / "start.py"
    program.write_text("\n".join([*lines, START]))
    return subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)


def test_an_old_python_reads_the_first_lines():
    ast.parse(START, feature_version=(3, 4))


def test_pain_05_a_32_bit_python_is_told_in_one_sentence(tmp_path):
    done = run_start(tmp_path, maxsize=2**31 - 1)

    assert done.returncode == DoesNotFit.exit_code
    assert "needs a 64-bit system" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_old_python_is_told_in_one_sentence(tmp_path):
    done = run_start(tmp_path, version_info=(3, 9, 2))

    assert done.returncode == DoesNotFit.exit_code
    assert "needs Python 3.11 or newer" in done.stderr
    assert len(done.stderr.splitlines()) == 1
