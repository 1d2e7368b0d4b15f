import dataclasses
import io
import zipfile
from pathlib import Path

import pytest

from edgellm.bundle import wheels
from edgellm.errors import EdgellmError, UsageError
from edgellm.records.target import Software, Target
from edgellm.records.wheels import parse

PACKAGES = {"numpy", "onnxruntime", "tokenizers"}


def board(arch="aarch64", **software):
    return Target("some-board", "Some Board", arch, software=Software(**software))


def pythons(chosen):
    return {wheel.python for wheel in chosen if wheel.abi != "abi3"}


def test_a_board_gets_each_package_for_each_of_its_pythons():
    chosen = wheels.choose(board(python=("3.11", "3.12"), glibc="2.36"))

    assert {wheel.name for wheel in chosen} == PACKAGES
    assert {wheel.arch for wheel in chosen} == {"aarch64"}
    assert pythons(chosen) == {"3.11", "3.12"}
    assert len(chosen) == 5  # one of tokenizers serves both


def test_a_board_that_does_not_say_gets_what_debian_has():
    assert pythons(wheels.choose(board())) == set(wheels.PYTHONS)


def test_pain_07_wheels_that_need_a_newer_glibc_are_never_chosen():
    with pytest.raises(UsageError, match=r"Some Board has glibc 2\.27, and onnxruntime .* 2\.28"):
        wheels.choose(board(glibc="2.27"))


def test_a_python_without_wheels_is_named():
    with pytest.raises(UsageError, match=r"Some Board has Python 3\.10, wheels .* 3\.11, 3\.12"):
        wheels.choose(board(python=("3.10",)))


def test_pain_02_and_06_the_board_gets_three_packages_and_never_torch():
    names = {parse(name).name for name in wheels.locked()}

    assert names == PACKAGES


def test_the_lock_has_what_the_constraints_of_boards_say():
    pinned = (Path(__file__).parents[2] / "constraints-board.txt").read_text().splitlines()[1:]

    found = {f"{wheel.name}=={wheel.version}" for wheel in map(parse, wheels.locked())}
    assert found == set(pinned)


@pytest.fixture
def one(monkeypatch, tmp_path):
    """Give a wheel that the lock knows, its content, and a download that counts."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("numpy/__init__.py", "x = 1\n")
        archive.writestr("numpy/tests/test_x.py", "x" * 1000)
    content = packed.getvalue()
    wheel = parse("wheels/numpy-1.0-cp311-cp311-manylinux_2_28_aarch64.whl")
    aside = tmp_path / "aside.whl"
    aside.write_bytes(content)
    sha256 = wheels.file_sha256(aside)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "locked", lambda: {wheel.path.rpartition("/")[2]: sha256})
    return wheel, content


def serve(content, calls):
    def download(wheel, sha256, folder):
        calls.append(wheel.name)
        (folder / wheel.path.rpartition("/")[2]).write_bytes(content)

    return download


def test_what_was_fetched_once_needs_no_network(one):
    wheel, content = one
    calls = []

    first = wheels.fetch([wheel], download=serve(content, calls))
    again = wheels.fetch([wheel], download=serve(b"never asked", calls))

    assert first == again
    assert calls == ["numpy"]
    assert [path.read_bytes() for path in again.values()] == [content]


def test_a_wheel_says_what_it_takes_once_unpacked(one):
    wheel, content = one

    (found,) = wheels.fetch([wheel], download=serve(content, []))

    assert found == dataclasses.replace(wheel, installed_bytes=len("x = 1\n"))


def test_a_damaged_wheel_in_the_cache_is_fetched_again(one):
    wheel, content = one
    (path,) = wheels.fetch([wheel], download=serve(content, [])).values()
    path.write_bytes(content[:-1])

    wheels.fetch([wheel], download=serve(content, []))

    assert path.read_bytes() == content


def test_another_wheel_than_the_lock_says_is_refused(one):
    wheel, content = one

    with pytest.raises(EdgellmError, match=r"is not what wheels\.lock says"):
        wheels.fetch([wheel], download=serve(content + b"x", []))
    assert not any(path.is_file() for path in wheels.cache().rglob("*"))


@pytest.mark.slow
@pytest.mark.network
def test_pip_fetches_a_wheel_of_another_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = [w for w in wheels.choose(board()) if w.name == "tokenizers"]

    ((wheel, path),) = wheels.fetch(small).items()

    assert path.stat().st_size < wheel.installed_bytes


def test_pip_that_finds_nothing_says_what_to_do(one, monkeypatch):
    wheel, _ = one
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(EdgellmError, match=r"numpy-1\.0.* could not be fetched .*--no-wheels"):
        wheels.fetch([wheel])
