import zipfile

import pytest

from edgellm.bundle import pack
from edgellm.records.manifest import MANIFEST_FILE


@pytest.fixture
def sources(tmp_path):
    contents = {MANIFEST_FILE: b"{}", "weights": b"w" * 9000, "zebra": b"z"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def packed(sources, target):
    target.mkdir()
    pack.write(sources, target, one_file=True)
    return target


def test_any_zip_program_opens_the_file(sources, tmp_path):
    with zipfile.ZipFile(packed(sources, tmp_path / "bundle")) as archive:
        assert archive.testzip() is None
        assert archive.read("weights") == b"w" * 9000


def test_the_manifest_comes_last(sources, tmp_path):
    with zipfile.ZipFile(packed(sources, tmp_path / "bundle")) as archive:
        assert archive.namelist()[-1] == MANIFEST_FILE


def test_the_same_files_give_the_same_bytes(sources, tmp_path):
    first, second = (packed(sources, tmp_path / name) for name in ("one", "two"))

    assert first.read_bytes() == second.read_bytes()


def test_weights_too_large_for_a_plain_zip_are_aligned_too(sources, tmp_path, monkeypatch):
    from edgellm.runner.members import members

    monkeypatch.setattr(pack, "ZIP64_BYTES", 5000)

    found = members(packed(sources, tmp_path / "bundle"))

    assert found["weights"].offset % 4096 == 0
    assert found["weights"].read() == b"w" * 9000
