import json

import pytest
from click.testing import CliRunner

from edgellm.cli import main
from edgellm.records import codec
from edgellm.records.report import Report
from edgellm.runner import checklist


@pytest.fixture(autouse=True)
def reports(tmp_path, make_report, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checklist, "verdict", lambda report: checklist.Verdict("valid"))
    codec.write(tmp_path / "base.json", make_report())
    codec.write(tmp_path / "slow.json", make_report([150, 151, 149, 150.5, 152]))


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


def gate(*arguments):
    return call("gate", *arguments, "--baseline", "base.json")


def test_a_run_as_fast_as_its_baseline_passes_in_one_line():
    result = gate("base.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("passed on time: the worst is ")
    assert len(result.stdout.splitlines()) == 1


def test_a_slower_run_ends_with_six_and_one_line():
    result = gate("slow.json", "--max-slower", "5%")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "of slow is 50" in result.stderr or "of slow is 49" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert gate("slow.json", "--max-slower", "60").exit_code == 0


def test_json_says_the_decision_also_where_it_fails():
    result = gate("slow.json", "--json")
    assert result.exit_code == 6
    data = json.loads(result.stdout)
    assert (data["passed"], data["evidence"], data["limit"]) == (False, "time", 0.05)


BAD = {
    "NaN": lambda text: text.replace("48.5", "NaN"),
    "holds -": lambda text: text.replace('"wall_ns": [\n    250000000', '"wall_ns": [\n    -1'),
    "cut off": lambda text: text[:-40],
    "upgrade edgellm": lambda text: text.replace(
        f'"schema": {Report.SCHEMA}', f'"schema": {Report.SCHEMA + 1}'
    ),
}


@pytest.mark.parametrize("sentence", BAD)
@pytest.mark.parametrize("command", [["gate", "--baseline", "base.json"], ["compare", "base.json"]])
def test_a_report_that_cannot_be_is_refused_in_one_sentence(tmp_path, command, sentence):
    good = (tmp_path / "base.json").read_text()
    text = BAD[sentence](good)
    assert text != good
    (tmp_path / "bad.json").write_text(text)
    result = call(*command, "bad.json")
    assert result.exit_code == 4
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
