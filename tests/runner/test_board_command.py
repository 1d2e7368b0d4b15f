import os

import pytest

from edgellm.runner import board_command


@pytest.fixture
def host(monkeypatch):
    """Give the host's end of the stdin that an operation reads."""
    stdin, host = os.pipe()
    monkeypatch.setattr(board_command, "STDIN", stdin)
    monkeypatch.setattr(board_command, "SILENCE_S", 0.2)
    return host


def test_a_host_that_says_goodbye_did_not_leave(host):
    os.write(host, b"\n\ndone\n")
    assert not board_command._host_left()


def test_a_host_whose_connection_ended_left(host):
    os.write(host, b"\n\n")
    os.close(host)
    assert board_command._host_left()


def test_a_host_that_is_silent_left_though_its_connection_stands(host):
    assert board_command._host_left()


def test_signs_of_life_that_follow_a_request_are_not_read_with_it(host):
    os.write(host, b'{"command": "bench"}\n\n')
    assert board_command._asked() == {"command": "bench"}
    assert os.read(board_command.STDIN, 9) == b"\n"
