import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgellm import targets
from edgellm.cli.targets import command


@pytest.fixture(autouse=True)
def one_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(targets.ENVIRONMENT, str(tmp_path))
    (tmp_path / "a-board.toml").write_text(
        'name = "A board"\narch = "aarch64"\n'
        '[[clusters]]\nuarch = "cortex_a76"\ncores = 4\nmax_hz = 2_400_000_000\n'
        "l2_bytes = 524_288\nl2_shared = false\nread_bytes_per_s = 13_976_000_000\n"
        "[memory]\nbytes = 8_589_934_592\n"
        '[sources]\nclusters = "bench at 53f7951"\n'
    )


def test_the_list_has_a_line_per_board():
    result = CliRunner().invoke(command, [])

    assert result.output == "a-board  A board, 4 x cortex_a76 2.4 GHz, 8 GiB\n"


def test_show_prints_each_value_with_its_source():
    lines = CliRunner().invoke(command, ["show", "a-board"]).output.splitlines()

    assert [" ".join(line.split()) for line in lines] == [
        "a-board: A board",
        "arch aarch64",
        "cores 4 x cortex_a76 2.4 GHz bench at 53f7951",
        "L2 512 KiB each bench at 53f7951",
        "read, one core 13.976 GB/s bench at 53f7951",
        "memory 8 GiB",
    ]


def test_json_carries_the_raw_numbers():
    result = CliRunner().invoke(command, ["show", "a-board", "--json"])

    assert json.loads(result.output)["clusters"][0]["read_bytes_per_s"] == 13_976_000_000


def test_an_unknown_board_ends_with_the_code_for_usage():
    result = CliRunner().invoke(command, ["show", "a-bord"])

    assert (result.exit_code, result.output) == (
        2,
        "edgellm: no target 'a-bord'; did you mean 'a-board'? (list: edgellm targets)\n",
    )
