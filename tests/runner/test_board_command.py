import os

import pytest

from edgellm.runner import board_command


def test_the_lock_is_for_all_users_of_a_board(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGELLM_LOCK", raising=False)
    monkeypatch.setattr(board_command, "LOCK_FOLDERS", ("/absent", str(tmp_path)))
    path = board_command._lock_path()
    before = os.umask(0o077)
    try:
        for _ in range(2):
            with open(path, "a+", opener=board_command._shared) as file:
                file.write("ann@laptop")
    finally:
        os.umask(before)
    assert path == tmp_path / "edgellm-board.lock"
    assert path.stat().st_mode & 0o777 == 0o666
    assert path.read_text() == "ann@laptop" * 2


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
