"""Deploy to an emulated board with sshd, as its ordinary user; the counters and every step down."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulation

PROVE = Path(__file__).parents[2] / "scripts/emulation/prove_deploy"


def test_deploy_measures_with_counters_and_says_why_where_there_are_none(prepared):
    played = subprocess.run(
        [sys.executable, PROVE, prepared / "int8.edgellm", "counters", "no-pmu", "refused"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert played.returncode == 0, played.stdout
