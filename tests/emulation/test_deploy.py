"""Deploy to an emulated board with sshd, as its ordinary user; the counters and every step down."""

import pytest

pytestmark = pytest.mark.emulation


def test_deploy_measures_with_counters_and_says_why_where_there_are_none(deployment):
    played = deployment.result()

    assert played.returncode == 0, played.stdout
