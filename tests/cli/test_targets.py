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
        '[software]\nos = "An OS"\npython = ["3.11", "3.13"]\n[sensors]\npower = ["PMIC"]\n'
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
        "counts l1d_refills, llc_refills, branch_misses, bus_accesses, stalled_cycles",
        "L2 512 KiB each bench at 53f7951",
        "read, one core 13.976 GB/s bench at 53f7951",
        "memory 8 GiB",
        "power sensors PMIC",
        "system An OS",
        "Python 3.11, 3.13",
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


def test_detect_says_which_board_a_recording_is_of_and_why_not_another(tmp_path: Path):
    (tmp_path / "small.toml").write_text(
        'from = "a-board"\nname = "A small one"\nmemory.bytes = 1_073_741_824\n'
    )
    (tmp_path / "pc.toml").write_text('name = "A PC"\narch = "x86_64"\n')
    recording = tmp_path / "machine.txt"
    core = "processor\t: {}\nCPU part\t: 0xd0b\nFeatures\t: asimd\n\n"
    recording.write_text(
        "# made up\n== proc/cpuinfo\n"
        + "".join(map(core.format, range(4)))
        + "\n== proc/meminfo\nMemTotal: 8000000 kB"
    )

    result = CliRunner().invoke(command, ["detect", str(recording)])

    assert result.output == (
        "a-board: A board\n"
        "  this machine: Cortex-A76, aarch64, 4 x Cortex-A76, 7.629 GiB\n"
        "  not small  it has 1 GiB of memory, this machine 7.63 GiB\n"
        "  and 1 more: --all\n"
    )


def test_detect_here_answers_in_json(tmp_path: Path):
    result = CliRunner().invoke(command, ["detect", "--json"])

    found = json.loads(result.output)
    assert set(found) == {"best", "why_not"}
    assert [*found["why_not"], *([found["best"]["id"]] if found["best"] else [])] == ["a-board"]


def test_a_recorded_machine_is_detected_as_the_machine_itself(tmp_path: Path):
    output = tmp_path / "recorded"

    result = CliRunner().invoke(command, ["record", "-o", str(output)])
    again = CliRunner().invoke(command, ["detect", str(output / "machine.txt"), "--json"])

    assert result.exit_code == 0
    assert f"{output}/machine.txt: " in result.output
    assert again.output == CliRunner().invoke(command, ["detect", "--json"]).output


def test_record_replaces_a_recording_only_when_asked(tmp_path: Path):
    output = tmp_path / "recorded"
    CliRunner().invoke(command, ["record", "-o", str(output)])

    assert CliRunner().invoke(command, ["record", "-o", str(output)]).exit_code == 2
    assert CliRunner().invoke(command, ["record", "-o", str(output), "--force"]).exit_code == 0
