from click.testing import CliRunner

from edgellm.cli import main
from edgellm.runner import imports
from edgellm.runner.imports import Imported


def test_the_host_has_the_same_doctor(monkeypatch):
    monkeypatch.setattr(imports, "probe", lambda: (Imported("numpy", "2.4.6"),))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert result.output.startswith("machine ")
    assert "numpy 2.4.6" in result.output
