import pytest
from click.testing import CliRunner

from edgellm.cli.build import command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheme", "int9"], "no scheme 'int9'; did you mean"),
        (["--scheme", "auto"], "--scheme auto chooses for a board: add --target"),
        (["--layers", "-1"], "-1 is not in the range x>=0"),
        (["--ffn", "1"], "1.0 is not in the range 0<=x<1"),
        (["--calibration", "absent.txt"], "'absent.txt' does not exist"),
        (["--output", "kept"], "kept exists already"),
    ],
)
def test_what_cannot_be_is_refused_before_the_export(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def unwanted(*_arguments, **_options):
        pytest.fail("the export began")

    monkeypatch.setattr("edgellm.export.pipeline.export_model", unwanted)
    (tmp_path / "kept").mkdir()

    result = CliRunner().invoke(command, ["smollm2-135m-instruct", "-o", "new", *options])

    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
