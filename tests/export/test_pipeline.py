"""An export that is ended early, as a user ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import edgellm

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_mid_export_leaves_nothing(
    number: signal.Signals, tmp_path: Path, make_model: Any
) -> None:
    model = make_model("llama", {})
    output = tmp_path / "made" / "out"
    command = [sys.executable, "-m", "edgellm", "export", str(model), "-o", str(output)]
    environment = os.environ | {"PYTHONPATH": str(Path(edgellm.__file__).parents[1])}

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as export:
        while export.poll() is None and not list(tmp_path.glob("made/.out.*")):
            time.sleep(0.01)
        export.send_signal(number)
        _, said = export.communicate(timeout=60)

    assert export.returncode == 130, said
    assert said.splitlines()[-1] == "edgellm: interrupted; nothing was left half-written"
    assert list(output.parent.iterdir()) == []
