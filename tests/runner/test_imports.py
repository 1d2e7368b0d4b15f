import sys

import pytest

from edgellm.runner import imports
from edgellm.runner.imports import Imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package called ``fake`` that a child can import."""

    def make(source):
        (tmp_path / "fake.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (found,) = imports.probe(["fake"], timeout_s=20)
        return found

    return make


def test_a_package_that_imports_gives_its_version(package):
    assert package("__version__ = '1.2'") == Imported("fake", "1.2")


def test_nothing_is_imported_into_this_process(package):
    package("__version__ = '1.2'")
    assert "fake" not in sys.modules


def test_pain_01_a_crash_is_named_by_its_signal_with_its_likely_cause(package):
    found = package("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert found.failed
    assert "SIGILL" in found.problem
    assert "instructions that this core lacks" in found.problem


def test_an_error_gives_its_last_line(package):
    found = package("import no_such_module_here")
    assert found.failed
    assert found.problem == "ModuleNotFoundError: No module named 'no_such_module_here'"


def test_an_import_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "fake.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = imports.probe(["fake"], timeout_s=0.2)
    assert found.failed
    assert "took more than" in found.problem


def test_where_no_child_can_be_started_nothing_is_claimed(tmp_path):
    (found,) = imports.probe(["fake"], python=str(tmp_path / "python"))
    assert not found.failed
    assert found.problem.startswith("not tried: no child process can start here")
