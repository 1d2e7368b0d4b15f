import dataclasses

from click.testing import CliRunner

from edgellm.bundle import build
from edgellm.cli._board import describe_wheels
from edgellm.cli.bundle import command
from edgellm.errors import DoesNotFit
from edgellm.records.manifest import BundleManifest
from edgellm.records.target import Memory, Target
from edgellm.records.wheels import parse


def wheel(name, python, abi, mib):
    path = f"wheels/{name}-1.0-{python}-{abi}-manylinux_2_28_aarch64.whl"
    return dataclasses.replace(parse(path), installed_bytes=mib << 20)


def test_what_a_bundle_brings_is_said_for_one_python_at_a_time():
    wheels = (
        wheel("numpy", "cp311", "cp311", 40),
        wheel("numpy", "cp313", "cp313", 41),
        wheel("tokenizers", "cp310", "abi3", 10),
    )
    manifest = BundleManifest(None, (), (), {}, wheels=wheels)

    assert describe_wheels(manifest) == [
        "brings numpy 1.0, tokenizers 1.0 for Python 3.11 and 3.13; installed 51 MiB"
    ]
    assert describe_wheels(dataclasses.replace(manifest, wheels=())) == []


def test_a_target_that_is_too_small_ends_the_command(tiny_stage, tmp_path, monkeypatch):
    small = Target("zero", "Zero", "aarch64", memory=Memory(bytes=200 << 20))
    monkeypatch.setattr("edgellm.targets.load", lambda name: small)
    monkeypatch.setattr(build, "choose", lambda target: ())
    arguments = [str(tiny_stage), "-o", str(tmp_path / "m"), "--target", "zero"]

    refused = CliRunner().invoke(command, arguments)
    forced = CliRunner().invoke(command, [*arguments, "--no-fit-check"])

    assert refused.exit_code == DoesNotFit.exit_code
    assert "Zero has 8 MiB beside its system" in refused.stderr
    assert forced.exit_code == 0, forced.stderr
