"""The default model's bundle on every kind of core: it installs, tests itself, and answers."""

import json

import pytest

from edgellm.runner import imports

pytestmark = pytest.mark.emulation

EIGHT_TOKENS = 8


def test_a_bundle_installs_without_pip_network_or_anything_but_python(taken):
    said = taken["install"].succeeded()

    assert "onnxruntime" in said


def test_what_was_installed_answers_the_golden_prompts(taken):
    taken["selftest"].succeeded()


def test_greedy_tokens_equal_those_of_the_workstation(taken):
    tokens = {name: json.loads(taken[name].succeeded())["output_ids"] for name in ("run", "host")}

    assert len(tokens["host"]) == EIGHT_TOKENS
    assert tokens["run"] == tokens["host"], taken["run"].command


@pytest.mark.parametrize("old", ["cortex-a53", "cortex-a72"])
def test_pain_01_a_wheel_for_newer_cores_is_named_and_not_loaded(
    old, prepared, emulated_python, monkeypatch
):
    """Onnxruntime 1.21.0 executes instructions that these cores lack while it is imported."""
    monkeypatch.setenv("QEMU_CPU", old)
    monkeypatch.setenv("PYTHONPATH", str(prepared / "onnxruntime-1.21.0"))

    (found,) = imports.probe(["onnxruntime"], python=str(emulated_python))

    assert found.failed
    assert found.problem.startswith("its import ends Python by SIGILL: its build uses instructions")


@pytest.mark.parametrize("old", ["cortex-a53", "cortex-a72"])
def test_pain_03_a_core_of_plain_asimd_takes_the_whole_road(old, journeys, features):
    assert features(old) == {"fp", "asimd", "crc32"}

    taken = journeys[old].result()
    for command in ("install", "selftest", "run"):
        taken[command].succeeded()
