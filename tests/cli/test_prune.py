"""``edgellm prune`` from its arguments to its words."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgellm.cli import main
from edgellm.graph.stage_folder import open_stage


def prune(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["prune", *map(str, args), "--threads", "1"])
    return result.exit_code, result.stdout, result.stderr


def test_it_says_what_went(tiny_stage: Path, tmp_path: Path) -> None:
    code, out, _ = prune(tiny_stage, "-o", tmp_path / "out", "--layers", 1, "--ffn", 0.5)

    # 258 * 32 embedding, layers of 32 * (64 + 32 + 3 * 64), norms of 32.
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "parameters: 26,848 -> 14,496 (-46.0%)"
    assert lines[1].startswith("layers removed (block influence): ")
    assert lines[2].startswith("  layer 0 stands in: ")
    assert lines[4].startswith("    0  64 -> 32 ")
    assert lines[-1] == f"pruned model: {tmp_path / 'out'}"
    assert open_stage(tmp_path / "out").record.model.kv.layers == 1


def test_json_is_the_step_of_the_record(tiny_stage: Path, tmp_path: Path) -> None:
    code, out, _ = prune(tiny_stage, "-o", tmp_path / "out", "--ffn", 0.5, "--json")

    step = json.loads(out)
    assert code == 0
    assert step["parameters"]["feed_forward_widths"] == [32, 32]
    assert step["parameters"]["calibration"]["name"] == "calibration.txt"
    assert len(step["measured"]["refit_errors"]) == 2


def test_a_saved_plan_is_replayed(tiny_stage: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    prune(tiny_stage, "-o", tmp_path / "a", "--ffn", 0.5, "--save-plan", plan)

    code, _, _ = prune(tiny_stage, "-o", tmp_path / "b", "--plan", plan)

    assert code == 0
    assert open_stage(tmp_path / "a").record == open_stage(tmp_path / "b").record


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "edgellm: nothing to prune: give --layers, --ffn or --plan\n"),
        (
            ["--plan", "plan.json", "--layers", 1],
            "edgellm: --plan says what goes; leave --layers and --ffn out\n",
        ),
    ],
)
def test_contradicting_requests_leave_nothing_behind(
    tiny_stage: Path, tmp_path: Path, args: list[object], sentence: str
) -> None:
    code, _, err = prune(tiny_stage, "-o", tmp_path / "out", *args)

    assert (code, err) == (2, sentence)
    assert list(tmp_path.iterdir()) == []
