import os

import pytest

from edgellm.errors import UsageError
from edgellm.runner import cpus


@pytest.mark.parametrize(
    ("text", "cores"), [("0", {0}), ("0-3", {0, 1, 2, 3}), ("0,2-3, 7", {0, 2, 3, 7})]
)
def test_a_list_of_cores_is_read(text, cores):
    assert cpus.parse(text) == cores


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-", "-1", "0,,1"])
def test_what_is_no_list_of_cores_is_refused(text):
    with pytest.raises(UsageError, match="is no list of cores"):
        cpus.parse(text)


def test_a_core_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="core 4095 is not available here; there are "):
        cpus.pin(frozenset({4095}))


def test_the_process_stays_on_its_cores(monkeypatch):
    pinned = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: pinned.append((pid, cores)))
    core = min(os.sched_getaffinity(0))

    cpus.pin(frozenset({core}))

    assert pinned == [(0, {core})]
