import hashlib
import os
import subprocess

import pytest

from edgellm.errors import BundleInvalid, RemoteFailed
from edgellm.remote import ssh
from edgellm.remote.board import Blob, Board
from edgellm.runner.members import Member

MIB = 1 << 20


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(ssh, "PAUSES_S", (0.01, 0.02))


@pytest.fixture
def make_blob(tmp_path):
    def make(size: int) -> Blob:
        path = tmp_path / f"content-{size}"
        path.write_bytes(b"before" + os.urandom(size))
        digest = hashlib.sha256(path.read_bytes()[6:]).hexdigest()
        return Blob(path.name, digest, Member(path, 6, size))

    return make


def at(byte: int, act):
    """Return a progress that acts once, when so much was sent."""
    left = [act]

    def progress(what: str, done: int, total: int) -> None:
        if done >= byte and left:
            left.pop()()

    return progress


def test_the_probe_describes_the_board(connection, machine):
    facts = Board(connection).probe()
    assert facts.home == str(machine.home)
    assert facts.bits == 64
    assert facts.machine == os.uname().machine
    assert facts.memory_bytes > MIB
    assert facts.free_bytes > 0
    assert facts.features
    assert (facts.blobs, facts.bundles) == ({}, ())


def test_only_what_the_board_lacks_is_sent(connection, machine, make_blob):
    board, first, second = Board(connection), make_blob(MIB), make_blob(2 * MIB)
    assert board.send([first]) == MIB
    assert board.send([first, second]) == 2 * MIB
    assert board.send([first, second]) == 0
    kept = machine.home / "blobs" / second.sha256
    assert kept.read_bytes() == second.content.read()


def test_a_copy_that_is_cut_goes_on_where_it_stopped(connection, machine, make_blob, said):
    blob, prepared = make_blob(8 * MIB), []
    sent = Board(connection).send([blob], lambda: prepared.append(1), at(3 * MIB, machine.cut))
    assert (machine.home / "blobs" / blob.sha256).read_bytes() == blob.content.read()
    assert 8 * MIB <= sent < 12 * MIB  # what was under way when the cable went is sent twice
    assert len(prepared) == 2
    assert said == ["bench-board: the connection was lost; trying again in 0 s"]


@pytest.mark.slow
def test_a_copy_survives_a_reboot(connection, machine, make_blob):
    def reboot():
        machine.off()
        machine.on()

    blob = make_blob(8 * MIB)
    assert Board(connection).send([blob], progress=at(3 * MIB, reboot)) < 12 * MIB
    assert (machine.home / "blobs" / blob.sha256).read_bytes() == blob.content.read()


def test_a_board_that_does_not_come_back_is_given_up_with_its_part_kept(
    connection, machine, make_blob
):
    blob = make_blob(8 * MIB)
    with pytest.raises(ssh.RemoteUnreachable, match="Connection refused"):
        Board(connection).send([blob], progress=at(3 * MIB, machine.off))
    assert [path.name for path in (machine.home / "blobs").iterdir()] == [f"{blob.sha256}.part"]


def test_a_file_that_is_damaged_here_is_not_sent(connection, machine, make_blob):
    blob = make_blob(MIB)
    with blob.content.path.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(BundleInvalid, match="content-1048576 does not match"):
        Board(connection).send([blob])
    assert not (machine.home / "blobs").exists()


@pytest.fixture
def small_disk(machine):
    """Give a board whose disk has 16 MiB."""
    machine.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(machine.home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield machine.home
    subprocess.run(["umount", "-l", str(machine.home)], check=True)


def test_a_disk_that_becomes_full_is_said_and_left_as_it_was(connection, small_disk, make_blob):
    blob = make_blob(15 * MIB)

    def fill():
        (small_disk / "other").write_bytes(bytes(12 * MIB))

    with pytest.raises(RemoteFailed, match=r"the disk of .*/blobs became full"):
        Board(connection).send([blob], progress=at(MIB, fill))
    assert list((small_disk / "blobs").iterdir()) == []
    (small_disk / "other").unlink()
    assert Board(connection).send([blob]) == 15 * MIB


def test_who_finds_that_somebody_else_sent_the_file_meanwhile_is_content(
    connection, machine, make_blob
):
    blob = make_blob(8 * MIB)
    with ssh.Connection(machine.host, print) as other:
        late = Board(other)
        late.probe()
        Board(connection).send([blob])
        late.send([blob])  # which believes that it is not there
    assert [path.name for path in (machine.home / "blobs").iterdir()] == [blob.sha256]
