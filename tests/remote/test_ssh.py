import time

import pytest

from edgellm.errors import RemoteFailed, RemoteUnreachable


def test_a_command_reads_and_writes(connection):
    assert connection.call(["tr", "a-z", "A-Z"], b"it's 'here'") == b"IT'S 'HERE'"


def test_words_reach_the_host_as_they_are(connection):
    assert connection.call(["printf", "%s|", "a b", "$HOME", "'"]) == b"a b|$HOME|'|"


def test_all_commands_use_one_connection(connection, machine):
    for _ in range(3):
        connection.call(["true"])
    log = (machine.folder / "log").read_text()
    assert log.count("Accepted publickey") == 1


def test_a_command_that_fails_is_named_with_its_status_and_last_words(connection):
    with pytest.raises(RemoteFailed, match=r"sh -c .* ended with exit status 3: first; no room"):
        connection.call(["sh", "-c", "echo first >&2; echo no room >&2; exit 3"])


def test_a_command_that_is_killed_is_not_taken_for_a_lost_connection(connection):
    with pytest.raises(RemoteFailed, match="was killed"):
        connection.call(["sh", "-c", "kill -9 $$"])


def test_a_lost_connection_may_be_tried_again(connection, machine):
    with connection.start(["cat"]) as session:
        machine.cut()
        with pytest.raises(RemoteUnreachable, match="bench-board: the connection was lost"):
            session.status()
    assert connection.call(["echo", "back"]) == b"back\n"


def test_nothing_is_left_when_a_connection_ends(connection, machine):
    with connection.start(["cat"]):
        assert machine.programs()
    connection.close()
    for _ in range(100):
        if not machine.running():
            break
        time.sleep(0.02)
    assert machine.running() == []
