import pytest
from click.testing import CliRunner

from edgellm.bundle.build import build_bundle
from edgellm.cli.run import command


@pytest.fixture(scope="module")
def bundle(tiny_stage, tmp_path_factory):
    return build_bundle(tiny_stage, tmp_path_factory.mktemp("bundle") / "smol").path


def test_options_reach_the_runner_in_any_order(bundle):
    result = CliRunner().invoke(command, ["--prompt", "hi", str(bundle), "--max-tokens", "4"])

    assert result.exit_code == 0, result.output
    assert "answer 4 tokens" in result.stderr


def test_help_is_the_runners_own():
    result = CliRunner().invoke(command, ["--help"])

    assert result.exit_code == 0
    assert "usage: edgellm run" in result.output
    assert 'edgellm run BUNDLE --prompt "What is a clock cycle?"' in result.output


def test_errors_carry_their_exit_code(bundle):
    result = CliRunner().invoke(command, [str(bundle), "--prompt", ""])

    assert result.exit_code == 2
    assert result.stderr.startswith("edgellm: the prompt is empty")
