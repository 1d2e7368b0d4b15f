import dataclasses
import json
import platform
import sys
import zipfile

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import BundleInvalid, DoesNotFit, EdgellmError
from edgellm.records import codec, folder
from edgellm.records.manifest import MANIFEST_FILE
from edgellm.records.wheels import parse
from edgellm.runner import imports, install_command, runtime
from edgellm.runner.__main__ import main

HERE = "".join(platform.python_version_tuple()[:2])
WHEEL = f"wheels/numpy-1.0-cp{HERE}-cp{HERE}-manylinux_2_17_{platform.machine()}.whl"
GOOD = tuple(imports.Imported(name, "1.0") for name in runtime.PACKAGES)


@pytest.fixture
def bundle(tiny_stage, tmp_path, monkeypatch):
    """Give a bundle with a wheel that says it unpacks to a MiB."""
    monkeypatch.setenv(runtime.HOME, str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(imports, "probe", lambda: GOOD)
    manifest = build_bundle(tiny_stage, tmp_path / "m").manifest
    (tmp_path / "m/wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "m" / WHEEL, "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    wheel = dataclasses.replace(parse(WHEEL), installed_bytes=1 << 20)
    files = (*manifest.files, *folder.entries(tmp_path / "m", [WHEEL]))
    say(tmp_path / "m", dataclasses.replace(manifest, wheels=(wheel,), files=files))
    return tmp_path / "m"


def say(bundle, manifest):
    codec.write(bundle / MANIFEST_FILE, manifest)


def install(bundle, *options):
    with pytest.raises(SystemExit) as ended:
        main([str(bundle), "install", *options])
    return ended.value.code


def test_it_says_what_it_installed_where_and_how_large_it_is(bundle, capsys):
    assert install(bundle) == 0

    place = runtime.place(runtime.read_manifest(bundle))
    assert capsys.readouterr().out == f"numpy 1.0: 1 MiB in {place}\n"
    assert (place / "numpy/__init__.py").is_file()


def test_json_says_the_same(bundle, capsys):
    install(bundle, "--json")

    said = json.loads(capsys.readouterr().out)
    assert (said["bytes"], said["versions"]["numpy"]) == (1 << 20, "1.0")


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    bundle, capsys, monkeypatch
):
    small = install_command.board_facts(bundle)
    small = dataclasses.replace(small, disk_free_bytes=1000)
    monkeypatch.setattr(install_command, "board_facts", lambda _: small)

    assert install(bundle) == DoesNotFit.exit_code
    assert "1 MiB are to be written and 0 MiB" in capsys.readouterr().err
    assert not runtime.home().exists()
    assert install(bundle, "--no-fit-check") == 0


def test_a_damaged_wheel_is_no_installation(bundle, capsys):
    (bundle / WHEEL).write_bytes(b"x")

    assert install(bundle) == BundleInvalid.exit_code
    assert "copy the bundle again" in capsys.readouterr().err
    assert runtime.activate(bundle) is None


def test_packages_that_this_core_cannot_run_are_named(bundle, capsys, monkeypatch):
    broken = imports.Imported("numpy", None, "its import ends Python by SIGILL", failed=True)
    monkeypatch.setattr(imports, "probe", lambda: (broken, *GOOD[1:]))

    assert install(bundle) == EdgellmError.exit_code
    assert "numpy was unpacked but cannot be imported (its import ends" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wheels", "said"),
    [
        ((), "brings no packages: make it with edgellm bundle --target ID"),
        ((parse(WHEEL.replace(f"cp{HERE}", "cp39")),), "the bundle brings packages for 3.9"),
    ],
)
def test_a_bundle_without_packages_for_this_machine_says_how_to_get_them(
    bundle, capsys, wheels, said
):
    say(bundle, dataclasses.replace(runtime.read_manifest(bundle), wheels=wheels))

    assert install(bundle) == DoesNotFit.exit_code
    assert said in capsys.readouterr().err


def test_a_machine_without_packages_is_told_in_one_sentence(bundle, capsys, monkeypatch):
    monkeypatch.setattr(runtime, "missing", lambda: ("numpy", "onnxruntime"))

    with pytest.raises(SystemExit) as ended:
        main([str(bundle), "run", "--prompt", "hi"])

    said = f"this machine lacks numpy, onnxruntime: install them by edgellm-run {bundle} install"
    assert ended.value.code == DoesNotFit.exit_code
    assert capsys.readouterr().err == f"edgellm-run: {said}\n"
