import dataclasses
import hashlib
import io
import os
import platform
import subprocess
import sys
import zipfile

import pytest

from edgellm.errors import BundleInvalid
from edgellm.records import codec
from edgellm.records.folder import FileEntry
from edgellm.records.manifest import MANIFEST_FILE, BundleManifest, KVLayout, ModelFacts
from edgellm.records.wheels import parse
from edgellm.runner import runtime
from edgellm.runner.members import members

HERE = "".join(platform.python_version_tuple()[:2])
NAME = f"wheels/numpy-1.0-cp{HERE}-cp{HERE}-manylinux_2_17_{platform.machine()}.whl"
OTHER = NAME.replace(f"cp{HERE}", "cp39")
FILES = {
    "numpy/__init__.py": "__version__ = 'of the bundle'\n",
    "numpy/_core/_simd.cpython-311-aarch64-linux-gnu.so": "x",
    "numpy/_core/_multiarray_umath.cpython-311-aarch64-linux-gnu.so": "x",
    "numpy/_core/tests/test_x.py": "x",
    "numpy/f2py/crackfortran.py": "x",
    "numpy/__init__.pyi": "x",
    "numpy-1.0.dist-info/licenses/LICENSE.txt": "x",
    "numpy.libs/libblas.so": "x",
}
KEPT = {
    "numpy/__init__.py",
    "numpy/_core/_multiarray_umath.cpython-311-aarch64-linux-gnu.so",
    "numpy-1.0.dist-info/licenses/LICENSE.txt",
    "numpy.libs/libblas.so",
}


def wheel(files=FILES):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """Give a folder bundle that brings one wheel for this Python and one for another."""
    monkeypatch.setenv(runtime.HOME, str(tmp_path / "home"))
    folder = tmp_path / "m"
    (folder / "wheels").mkdir(parents=True)
    contents = {NAME: wheel(), OTHER: wheel({"numpy/__init__.py": "other"})}
    for path, content in contents.items():
        (folder / path).write_bytes(content)
    manifest = BundleManifest(
        model=ModelFacts(
            *("tiny", "llama", "text-generation", 10, 4),
            kv=KVLayout(1, 1, 4, "float32", 16),
            route="fused",
            bos_token_id=None,
            stop_token_ids=(),
        ),
        provenance=(),
        files=tuple(
            FileEntry(path, len(content), hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        ),
        requires={},
        wheels=tuple(map(parse, contents)),
    )
    codec.write(folder / MANIFEST_FILE, manifest)
    return folder


def install(bundle):
    return runtime.install(runtime.read_manifest(bundle), members(bundle))


def unpacked(place):
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_pain_06_only_what_the_runner_imports_is_unpacked(bundle):
    assert unpacked(install(bundle)) == KEPT


def test_what_will_be_unpacked_is_known_before(bundle):
    place = install(bundle)

    size = sum((place / name).stat().st_size for name in KEPT)
    assert runtime.installed_bytes(bundle / NAME) == size


def test_installing_again_changes_nothing(bundle):
    place = install(bundle)
    before = (place / "numpy/__init__.py").stat()

    assert install(bundle) == place
    after = (place / "numpy/__init__.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_packages_that_lost_a_file_are_unpacked_again(bundle, damage):
    place = install(bundle)
    lost = place / "numpy.libs/libblas.so"
    lost.unlink() if damage == "missing" else lost.write_text("")

    install(bundle)

    assert lost.read_text() == "x"
    assert unpacked(place) == KEPT


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_wheel_is_named_and_leaves_nothing(bundle, damage):
    path = bundle / NAME
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(BundleInvalid, match=r"wheels/numpy-1\.0.*copy the bundle again"):
        install(bundle)
    assert not unpacked(runtime.home())


def test_an_unpacking_that_ends_early_leaves_nothing(bundle, monkeypatch):
    def fail(archive, place, infos):
        archive.extract(infos[0], place)
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "extractall", fail)

    with pytest.raises(KeyboardInterrupt):
        install(bundle)
    assert not unpacked(runtime.home())
    assert runtime.activate(bundle) is None


def test_other_wheels_are_another_folder(bundle):
    manifest = runtime.read_manifest(bundle)
    changed = tuple(dataclasses.replace(entry, sha256="0" * 64) for entry in manifest.files)

    assert runtime.place(dataclasses.replace(manifest, files=changed)) != runtime.place(manifest)


def test_a_bundle_without_wheels_for_this_machine_has_no_place(bundle):
    manifest = runtime.read_manifest(bundle)

    assert runtime.place(dataclasses.replace(manifest, wheels=(parse(OTHER),))) is None


def test_this_process_and_its_children_find_them_first(bundle, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    place = install(bundle)

    assert runtime.activate(bundle) == place

    assert sys.path[0] == str(place)
    assert os.environ["PYTHONPATH"] == f"{place}{os.pathsep}/elsewhere"
    program = (sys.executable, "-P", "-c", "import numpy; print(numpy.__version__)")
    child = subprocess.run(program, capture_output=True, text=True, check=True)
    assert child.stdout == "of the bundle\n"


def test_nothing_changes_where_nothing_is_installed(bundle, monkeypatch):
    before = list(sys.path)

    assert runtime.activate(bundle) is None
    assert runtime.activate(bundle / "nothing") is None
    assert sys.path == before


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"EDGELLM_HOME": "/e", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/e"),
        ({"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/edgellm"),
        ({"HOME": "/h"}, "/h/.local/share/edgellm"),
    ],
)
def test_the_users_own_folder_is_used(variables, place, monkeypatch):
    for name in ("EDGELLM_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert str(runtime.home()) == place
