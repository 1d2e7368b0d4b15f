import json
import subprocess
import sys

import pytest

from edgellm.runner import doctor_command, imports
from edgellm.runner.__main__ import main
from edgellm.runner.imports import Imported


def run(monkeypatch, capsys, packages, *arguments):
    monkeypatch.setattr(imports, "probe", lambda: packages)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return ended.value.code, capsys.readouterr()


def test_it_needs_no_bundle(monkeypatch, capsys):
    code, shown = run(monkeypatch, capsys, (Imported("numpy", "2.4.6"),))
    assert code == 0
    assert "numpy 2.4.6" in shown.out


def test_it_fails_where_a_package_cannot_be_imported(monkeypatch, capsys):
    broken = Imported("onnxruntime", None, "its import ends Python by SIGILL", failed=True)
    code, shown = run(monkeypatch, capsys, (broken,))
    assert code == 1
    assert "SIGILL" in shown.out
    assert shown.err == (
        "edgellm-run: onnxruntime cannot be imported here, so no bundle runs; see the advice\n"
    )


def test_what_could_not_be_tried_is_no_failure(monkeypatch, capsys):
    code, _ = run(monkeypatch, capsys, (Imported("onnxruntime", None, "not tried"),))
    assert code == 0


def test_json_holds_what_the_text_shows(monkeypatch, capsys):
    code, shown = run(monkeypatch, capsys, (Imported("numpy", "2.4.6"),), "--json")
    found = json.loads(shown.out)
    assert code == 0
    assert found["environment"]["versions"]["numpy"] == "2.4.6"
    assert found["counters"] or found["uncounted"]


def test_nothing_that_may_crash_is_imported_into_this_process():
    program = (
        "import sys; from edgellm.runner.__main__ import main\n"
        "try:\n    main(['doctor', '--help'])\n"
        "except SystemExit:\n"
        "    print(sorted({'numpy', 'onnxruntime', 'tokenizers'} & {*sys.modules}))"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert child.stdout.splitlines()[-1] == "[]"
    assert doctor_command.HELP.splitlines()[0] in child.stdout
