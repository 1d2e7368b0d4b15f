import json

import pytest
from click.testing import CliRunner

from edgellm.cli.deploy import command
from edgellm.errors import RemoteUnreachable
from edgellm.records import report
from edgellm.remote import deploy
from edgellm.remote.deploy import Deployed, Outcome


@pytest.fixture
def boards(monkeypatch, make_report, tmp_path):
    """Let every host but ``broken`` be a board; give what was wanted of each."""
    wanted = {}

    def act(connection, bundle, asked, hear, progress):
        wanted[connection.host.name] = asked
        if connection.host.name == "broken":
            raise RemoteUnreachable("broken: Connection refused")
        made = make_report() if asked.bench is not None else None
        return Outcome(Deployed("/there", 1 << 20, 3 << 20, 1.5), "ok: equal", made)

    monkeypatch.setattr(deploy, "deploy", act)
    monkeypatch.setattr(deploy, "read_bundle", lambda path: path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return wanted


def invoke(*words):
    return CliRunner().invoke(command, ["m.edgellm", *words])


def test_what_was_done_is_said_for_each_host(boards):
    result = invoke("pi4", "pi5")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] in (
        ["pi4: 1.0 of 3.0 MiB copied, 1.5 s: /there", "pi4: ok: equal"],
        ["pi5: 1.0 of 3.0 MiB copied, 1.5 s: /there", "pi5: ok: equal"],
    )
    assert {name: asked.bench for name, asked in boards.items()} == {"pi4": None, "pi5": None}


def test_a_report_comes_home_under_the_names_of_bundle_and_host(boards, tmp_path):
    assert invoke("pi4", "--bench").exit_code == 0
    assert report.read(tmp_path / "m-pi4.json")


def test_the_reports_of_several_hosts_go_into_a_folder(boards, tmp_path):
    result = invoke("pi4", "pi5", "--bench-options", "--quick --threads 2", "-o", "reports")
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "m-pi4.json",
        "m-pi5.json",
    ]
    assert boards["pi4"].bench == ("--quick", "--threads", "2")


def test_a_report_that_exists_is_refused_before_a_board_is_asked(boards, tmp_path):
    (tmp_path / "m-pi4.json").write_text("kept")
    result = invoke("pi4", "--bench")
    assert result.exit_code == 2
    assert "m-pi4.json exists already" in result.stderr
    assert boards == {}


def test_one_failing_host_gives_its_status_and_the_others_are_done(boards):
    result = invoke("broken", "pi5", "--json")
    assert result.exit_code == 7
    assert "edgellm: broken: Connection refused" in result.stderr
    failed, done = json.loads(result.stdout)
    assert (failed["host"], failed["error"]) == ("broken", "broken: Connection refused")
    assert (done["host"], done["error"], done["sent_bytes"]) == ("pi5", None, 1 << 20)


def test_the_fit_check_is_for_a_context_or_left_out(boards):
    invoke("pi4", "--context", "2048")
    assert boards["pi4"].needs.context == 2048
    invoke("pi4", "--no-fit-check")
    assert boards["pi4"].needs is None
