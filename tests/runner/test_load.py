import contextlib
import dataclasses
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.bundle.build import build_bundle
from edgellm.errors import BundleInvalid, EdgellmError, UnsupportedModel
from edgellm.records import codec
from edgellm.records.folder import entries
from edgellm.records.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    BundleManifest,
)
from edgellm.runner import golden
from edgellm.runner.load import open_bundle
from edgellm.runner.members import members

EVERY_FILE = (GOLDEN_FILE, MODEL_FILE, WEIGHTS_FILE, TOKENIZER_FILE, "runner.pyz")


@pytest.fixture(scope="module")
def made(tiny_stage, tmp_path_factory):
    """Give the tiny model's bundle as a folder and as a file; read them only."""
    place = tmp_path_factory.mktemp("bundles")
    for name in ("folder", "file.edgellm"):
        build_bundle(tiny_stage, place / name)
    return place


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made / "folder", tmp_path / "smol")


@pytest.fixture
def file(made, tmp_path):
    return shutil.copyfile(made / "file.edgellm", tmp_path / "smol.edgellm")


def flip(path, offset):
    with path.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 1]))


def change_manifest(folder, **fields):
    manifest = codec.read(BundleManifest, folder / MANIFEST_FILE)
    codec.write(folder / MANIFEST_FILE, dataclasses.replace(manifest, **fields))


def use(path):
    """Read everything of a bundle, and run it."""
    bundle = open_bundle(path)
    session = bundle.session()
    golden.replay_all(session, bundle.golden())


@pytest.mark.parametrize("name", ["folder", "file.edgellm"])
def test_a_bundle_opens_and_answers_as_recorded(made, name):
    bundle = open_bundle(made / name)
    session = bundle.session(threads=1)

    replays = golden.replay_all(session, bundle.golden())

    assert [replay.equal for replay in replays] == [replay.tokens for replay in replays]
    assert bundle.tokenizer.decode([0]) == "!"


def test_both_forms_give_the_same_logits(made):
    first, second = (
        open_bundle(made / name).session(threads=1).prefill([1, 2, 3])
        for name in ("folder", "file.edgellm")
    )

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_flipped_bit_names_the_file(folder, name):
    flip(folder / name, 50)

    with pytest.raises(BundleInvalid, match=f"{name} does not match its recorded SHA-256"):
        open_bundle(folder)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_flipped_bit_in_a_one_file_bundle_names_the_member(file, name):
    flip(file, members(file)[name].offset + 50)

    with pytest.raises(BundleInvalid, match=rf"smol\.edgellm: {name} does not match"):
        open_bundle(file)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_cut_off_is_named_even_unchecked(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])

    with pytest.raises(BundleInvalid, match=f"{name} has {len(content) - 1} bytes, its record"):
        open_bundle(folder, check=False)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_one_file_bundle_cut_off_is_refused(file, keep):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])

    with pytest.raises(BundleInvalid, match=r"smol\.edgellm .*is cut off"):
        open_bundle(file)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(BundleInvalid, match=f"smol lacks {name}"):
        open_bundle(folder)


def test_unchecked_weights_are_not_read(folder):
    flip(folder / WEIGHTS_FILE, 50)

    open_bundle(folder, check=False)


def test_all_but_the_weights_is_always_checked(folder):
    flip(folder / TOKENIZER_FILE, 50)

    with pytest.raises(BundleInvalid, match=r"tokenizer\.json does not match"):
        open_bundle(folder, check=False)


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE])
def test_a_file_that_was_damaged_before_it_was_recorded_is_refused(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    change_manifest(folder, files=entries(folder, EVERY_FILE))

    with pytest.raises(BundleInvalid):
        use(folder)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(damage=st.data())
def test_damage_anywhere_in_one_file_is_an_error_of_ours_or_harmless(made, damage):
    content = bytearray((made / "file.edgellm").read_bytes())
    at = damage.draw(st.integers(0, len(content) - 1))
    content[at] ^= damage.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "smol.edgellm"
        path.write_bytes(content)
        with contextlib.suppress(EdgellmError):
            use(path)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(number=st.data())
def test_a_number_changed_in_the_manifest_is_an_error_of_ours_or_harmless(made, number):
    text = (made / "folder" / MANIFEST_FILE).read_text()
    where = number.draw(st.sampled_from([*re.finditer(r"(?<=: )\d+", text)]))
    value = number.draw(st.integers(-2, 300))
    with tempfile.TemporaryDirectory() as place:
        path = shutil.copytree(made / "folder", Path(place) / "smol")
        changed = f"{text[: where.start()]}{value}{text[where.end() :]}"
        (path / MANIFEST_FILE).write_text(changed)
        with contextlib.suppress(EdgellmError):
            use(path)


def test_a_newer_schema_says_to_upgrade(folder):
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "schema": 99}))

    with pytest.raises(BundleInvalid, match=r"manifest\.json has schema 99.*upgrade edgellm"):
        open_bundle(folder)


def test_a_manifest_cut_off_is_named(folder):
    (folder / MANIFEST_FILE).write_text((folder / MANIFEST_FILE).read_text()[:500])

    with pytest.raises(BundleInvalid, match=r"manifest\.json is not valid JSON"):
        open_bundle(folder)


def test_operators_of_another_domain_are_refused(folder):
    change_manifest(folder, requires={"operators:acme": ">=1"})

    with pytest.raises(UnsupportedModel, match="smol uses operators of the domain 'acme'"):
        open_bundle(folder)


def test_a_manifest_that_lists_too_little_is_refused(folder):
    change_manifest(folder, files=())

    with pytest.raises(BundleInvalid, match=r"does not list model\.onnx"):
        open_bundle(folder)
