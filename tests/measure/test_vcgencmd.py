import pytest

from edgellm.measure import vcgencmd


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program called vcgencmd on PATH."""

    def put(script):
        path = tmp_path / "vcgencmd"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


def test_the_answer_is_what_the_program_prints(program):
    program("echo asked $1")
    assert vcgencmd.ask("get_throttled") == "asked get_throttled"


def test_a_refusal_is_no_answer(program):
    program("echo VCHI initialization failed; exit 255")
    assert vcgencmd.ask("get_throttled") is None


def test_a_program_that_hangs_is_no_answer(program, monkeypatch):
    program("exec sleep 60")
    monkeypatch.setattr(vcgencmd, "TIMEOUT_S", 0.05)
    assert vcgencmd.ask("get_throttled") is None


def test_without_the_program_there_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vcgencmd.ask("get_throttled") is None
