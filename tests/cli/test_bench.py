import pytest
from click.testing import CliRunner

from edgellm.cli.bench import command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.edgellm", "-o", "r.json"], "absent.edgellm does not exist"),
        (["x", "-o", "r.json", "--output-tokens", "1"], "output tokens must be at least 2, not 1"),
        (
            ["x", "-o", "kept.json"],
            "kept.json exists already; choose another output or add --force",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.json").write_text("kept")
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert (tmp_path / "kept.json").read_text() == "kept"
