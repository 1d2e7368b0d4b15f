import zipfile

import pytest

from edgellm.bundle import pack
from edgellm.errors import BundleInvalid, UsageError
from edgellm.records.manifest import MANIFEST_FILE, STAGE_FILE
from edgellm.runner.members import PAGE_BYTES, members

CONTENTS = {
    MANIFEST_FILE: b"{}",
    "empty": b"",
    "page": b"p" * PAGE_BYTES,
    "large": bytes(range(256)) * 100,
}


@pytest.fixture(params=["folder", "file"])
def bundle(request, tmp_path):
    sources = {}
    for name, content in CONTENTS.items():
        sources[name] = tmp_path / f"source of {name}"
        sources[name].write_bytes(content)
    target = tmp_path / "bundle"
    target.mkdir()
    pack.write(sources, target, one_file=request.param == "file")
    return target


def test_a_folder_and_a_file_have_the_same_members(bundle):
    found = members(bundle)

    assert {name: found[name].read() for name in CONTENTS} == CONTENTS
    assert all(found[name].size == len(content) for name, content in CONTENTS.items())


def test_members_of_a_page_or_more_can_be_mapped(bundle):
    found = members(bundle)

    assert [found[name].offset % PAGE_BYTES for name in ("page", "large")] == [0, 0]


def test_a_bundle_that_does_not_exist_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="does not exist; make it with: edgellm bundle"):
        members(tmp_path / "nothing")


def test_a_stage_folder_is_told_from_a_bundle(tmp_path):
    (tmp_path / STAGE_FILE).touch()

    with pytest.raises(UsageError, match="is a stage folder, not a bundle"):
        members(tmp_path)


def test_a_folder_without_a_manifest_is_unfinished(tmp_path):
    with pytest.raises(BundleInvalid, match=r"has no manifest\.json"):
        members(tmp_path)


def test_any_other_file_is_no_bundle(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")

    with pytest.raises(BundleInvalid, match=r"notes\.txt is no bundle"):
        members(tmp_path / "notes.txt")


def test_a_file_packed_again_with_compression_is_refused(tmp_path):
    path = tmp_path / "packed.edgellm"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_FILE, "{}" * 100)

    with pytest.raises(BundleInvalid, match=r"holds manifest\.json compressed"):
        members(path)
