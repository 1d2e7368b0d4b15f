"""``edgellm quantize`` from its arguments to its words."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgellm.cli import main
from edgellm.graph.stage_folder import open_stage


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch, calibration_file: Path) -> None:
    monkeypatch.setattr("edgellm.evaluate.text.DEFAULT", calibration_file)


def quantize(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["quantize", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def test_without_a_target_it_is_8_bits_in_blocks(tiny_stage: Path, tmp_path: Path) -> None:
    code, out, _ = quantize(tiny_stage, "-o", tmp_path / "out")

    assert code == 0
    assert out.startswith(f"{tmp_path / 'out'}: 9 matmuls quantized, ")
    assert "instructions" not in out
    parameters = open_stage(tmp_path / "out").record.provenance[-1].parameters
    assert (parameters["name"], parameters["method"], parameters["target"]) == (
        "int8",
        "blocks",
        None,
    )


def test_for_a_target_it_says_what_was_chosen_by_which_numbers(
    tiny_stage: Path, tmp_path: Path
) -> None:
    code, out, _ = quantize(
        tiny_stage, "-o", tmp_path / "out", "--target", "raspberry-pi-4b-4gb", "--no-guard"
    )

    lines = out.splitlines()[2:]
    assert code == 0
    assert lines[0].startswith(
        "kernels for raspberry-pi-4b-4gb, as counted on an emulated cortex_a72"
    )
    assert [line.split()[0] for line in lines[1:6]] == [
        "attention.qkv",
        "attention.output",
        "feed_forward.gate_up",
        "feed_forward.down",
        "head",
    ]
    assert all(" x rows 8: " in line and "; instead of blocks 4 " in line for line in lines[1:6])
    assert lines[-1].endswith("predicted, emulated")
    step = open_stage(tmp_path / "out").record.provenance[-1]
    assert step.parameters["name"] == "auto"
    assert step.parameters["target"] == "raspberry-pi-4b-4gb"
    assert step.parameters["layers"]["head"] == {"method": "rows", "bits": 8}


def test_a_scheme_restricts_the_choice_to_its_bits(tiny_stage: Path, tmp_path: Path) -> None:
    args = ("--target", "raspberry-pi-5-8gb", "--scheme", "int4", "--no-guard", "--no-calibration")
    code, _, _ = quantize(tiny_stage, "-o", tmp_path / "out", *args)

    layers = open_stage(tmp_path / "out").record.provenance[-1].parameters["layers"]
    assert code == 0
    assert layers.pop("head")["bits"] == 8
    assert {kernel["bits"] for kernel in layers.values()} == {4}


def test_what_loses_too_much_gives_way_and_both_are_said(tiny_stage: Path, tmp_path: Path) -> None:
    args = ("--target", "raspberry-pi-4b-4gb", "--max-kl", "1e-12", "--max-perplexity", "50%")
    code, out, _ = quantize(tiny_stage, "-o", tmp_path / "out", *args)

    lines = out.splitlines()
    assert code == 0
    changes = [line for line in lines if line.startswith("not kept: prefill: perplexity ")]
    assert 0 < len(changes) < 11
    assert all("changed " in line and " from rows 8 to " in line for line in changes[:1])
    assert lines[-1].startswith("kept: prefill: perplexity ")
    assert {k["method"] for k in _layers(tmp_path / "out").values()} == {"float"}


def _layers(folder: Path) -> dict[str, dict[str, object]]:
    layers: dict[str, dict[str, object]] = (
        open_stage(folder).record.provenance[-1].parameters["layers"]
    )
    return layers


def test_limits_hold_without_a_target_too(tiny_stage: Path, tmp_path: Path) -> None:
    code, _, err = quantize(tiny_stage, "-o", tmp_path / "out", "--max-kl", "0")

    assert code == 5
    assert "none of 1 ways to quantize keeps the limits; the last: prefill: perplexity" in err
    assert not (tmp_path / "out").exists()


def test_an_x86_target_keeps_its_blocks_and_says_why(tiny_stage: Path, tmp_path: Path) -> None:
    code, out, _ = quantize(
        tiny_stage, "-o", tmp_path / "out", "--target", "intel-n100", "--no-guard"
    )

    assert code == 0
    assert out.splitlines()[-1] == (
        "intel-n100: nothing was counted on x86_64; blocks of 8 bits decoded fastest there"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--scheme", "auto"], "--scheme auto chooses for a board: add --target"),
        (["--target", "raspberry-pi-4"], "no target 'raspberry-pi-4'; did you mean"),
        (["--scheme", "int9"], "no scheme 'int9'; did you mean"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(
    args: list[str], said: str, tiny_stage: Path, tmp_path: Path
) -> None:
    code, _, err = quantize(tiny_stage, "-o", tmp_path / "out", *args)

    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1


def test_json_is_the_record(tiny_stage: Path, tmp_path: Path) -> None:
    code, out, _ = quantize(tiny_stage, "-o", tmp_path / "out", "--json")

    assert code == 0
    assert json.loads(out)["provenance"][-1]["action"] == "quantize"
