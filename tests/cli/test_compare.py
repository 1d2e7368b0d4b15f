import dataclasses
import json

import pytest
from click.testing import CliRunner

from edgellm.cli.compare import command
from edgellm.records import codec
from edgellm.report import interleave

SLOW = [150, 151, 149, 150.5, 152]


@pytest.fixture
def reports(tmp_path, make_report, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codec.write(tmp_path / "a.json", make_report())
    codec.write(tmp_path / "b.json", make_report(SLOW))


def compare(*arguments):
    return CliRunner().invoke(command, list(arguments))


@pytest.mark.usefixtures("reports")
def test_the_first_report_is_the_reference():
    result = compare("a.json", "b.json")
    assert result.exit_code == 0
    assert "Against a, with" in result.stdout
    assert "1.50x slower (" in result.stdout


@pytest.mark.usefixtures("reports")
def test_json_holds_values_in_plain_units_and_the_verdict():
    data = json.loads(compare("a.json", "b.json", "--json").stdout)
    row = next(row for row in data["rows"] if row["metric"] == "prefill_ns")
    assert [cell["median"] for cell in row["cells"]] == [100e6, 150.5e6]
    assert row["changes"][0]["verdict"] == "worse"
    assert row["changes"][0]["ratio"] == pytest.approx(1.505)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(("limit", "code"), [("5%", 6), ("5", 6), ("60%", 0)])
def test_a_limit_decides_the_exit_code(limit, code):
    result = compare("a.json", "b.json", "--fail-slower", limit)
    assert result.exit_code == code
    assert ("slower than of a" in result.stderr) == (code == 6)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("limit", ["lots", "-1", "nan", "inf"])
def test_a_limit_that_is_no_share_is_refused(limit):
    result = compare("a.json", "b.json", f"--fail-slower={limit}")
    assert result.exit_code == 2
    assert "is not a share such as 5%" in result.stderr


@pytest.mark.usefixtures("reports")
def test_columns_are_named_by_files_without_their_endings(tmp_path):
    (tmp_path / "a.json").rename(tmp_path / "qwen2.5.report.json")
    assert "Against qwen2.5, with" in compare("qwen2.5.report.json", "b.json").stdout


@pytest.mark.usefixtures("reports")
def test_reports_of_one_name_are_told_apart_by_their_path(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "a.json").rename(tmp_path / "old/b.json")
    assert "Against old/b.json, with" in compare("old/b.json", "b.json").stdout


@pytest.mark.usefixtures("reports")
def test_other_conditions_are_refused_and_shown_when_allowed(tmp_path, make_report):
    report = make_report()
    alone = dataclasses.replace(report.workload, threads=1)
    codec.write(tmp_path / "c.json", dataclasses.replace(report, workload=alone))
    refused = compare("a.json", "c.json")
    assert refused.exit_code == 2
    assert "threads is 4 in a and 1 in c" in refused.stderr
    assert "DIFFERS: threads is 4 in a and 1 in c" in compare("a.json", "c.json", "--allow").stdout


@pytest.mark.usefixtures("reports")
def test_a_file_that_is_no_report_is_named(tmp_path):
    (tmp_path / "b.json").write_text("{}")
    result = compare("a.json", "b.json")
    assert result.exit_code == 4
    assert "b.json is not an edgellm report file" in result.stderr


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("option", ["--threads=1", "--prompt-tokens=9", "--save=x"])
def test_an_option_of_runs_needs_run(option):
    result = compare("a.json", "b.json", option)
    assert result.exit_code == 2
    assert f"{option.partition('=')[0]} is for bundles: add --run" in result.stderr


def test_bundles_take_turns_and_their_reports_are_saved(tmp_path, make_report, monkeypatch):
    asked = []

    def run(bundles, options, progress):
        asked.extend(options)
        return tuple(make_report([100.0] * 6, interleaved="turns") for _ in bundles)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interleave, "run_interleaved", run)
    result = compare("--run", "a.edgellm", "b.edgellm", "--threads", "1", "--save", "out")
    assert result.exit_code == 0, result.output
    assert "Against a, with" in result.stdout
    assert "took turns" in result.stdout
    assert asked == ["--threads=1"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.json"]
