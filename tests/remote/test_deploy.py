import dataclasses
import json
import os

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import BundleInvalid, DoesNotFit, ParityExceeded, RemoteError
from edgellm.records.folder import FileEntry
from edgellm.records.manifest import GOLDEN_FILE
from edgellm.records.wheels import parse
from edgellm.remote import deploy, several
from edgellm.remote.board import Board
from edgellm.remote.deploy import Wanted
from edgellm.remote.hosts import Host
from edgellm.remote.run import Agent, Done, Hold
from edgellm.remote.ssh import Connection
from edgellm.runner import runtime

SHORT = ("--quick", "--repetitions", "2", "--prompt-tokens", "9", "--output-tokens", "3")


@pytest.fixture
def again(machine, said):
    """Deploy with a connection of its own."""

    def do(bundle, **wanted) -> deploy.Outcome:
        local = deploy.read_bundle(bundle)
        return deploy.deploy(Connection(machine.host, said.append), local, Wanted(**wanted), print)

    return do


def test_a_bundle_is_copied_once_checked_and_measured(again, bundle, machine):
    first = again(bundle, selftest=False)
    second = again(bundle, bench=SHORT)

    # Where its runner is the one that came before it, that is not sent twice.
    assert 0 < first.deployed.sent_bytes <= first.deployed.total_bytes
    assert (first.selftest, first.report) == (None, None)
    assert second.deployed.sent_bytes == 0
    assert "tokens equal" in second.selftest
    assert second.report.bundle.digest == deploy.read_bundle(bundle).manifest.digest
    assert machine.programs() == []


@pytest.mark.slow
def test_a_folder_and_a_file_of_the_same_model_share_what_they_have_in_common(
    again, bundle, tiny_stage, tmp_path
):
    folder = build_bundle(tiny_stage, tmp_path / "tiny").path
    again(bundle, selftest=False)
    assert again(folder, selftest=False).deployed.sent_bytes < 10_000  # goldens and the manifest


def test_packages_are_installed_once_for_the_board_and_again_where_something_was_damaged(
    connection, bundle, monkeypatch
):
    local, ran = deploy.read_bundle(bundle), []
    wheels = tuple(
        parse(f"wheels/{name}-1.0-cp311-abi3-manylinux_2_17_{os.uname().machine}.whl")
        for name in ("numpy", "tokenizers")
    )
    files = [FileEntry(wheel.path, 1, "ab" * 32) for wheel in wheels]
    manifest = dataclasses.replace(
        local.manifest, wheels=wheels, files=(*local.manifest.files, *files)
    )
    local = dataclasses.replace(local, manifest=manifest)

    def run(self, command, options, **_):
        ran.append(command)
        return Done(0, b"", "")

    with deploy.visit(connection) as there, Hold(there.agent, "a test", wait=False) as hold:
        monkeypatch.setattr(Agent, "run", run)
        deploy.bring(there, hold, local)
        later = dataclasses.replace(there, facts=_with_runtime(there.facts, manifest))
        deploy.bring(later, hold, local)
        assert ran == ["install"]
        deploy.bring(later, hold, local, mend=True)
        assert ran == ["install", "install"]


def _with_runtime(facts, manifest):
    name = runtime.place_name(manifest, facts.python_version, facts.machine)
    assert name
    return dataclasses.replace(facts, runtimes=(name,))


@pytest.mark.slow
def test_what_a_bad_card_damaged_is_found_and_sent_again(again, bundle, machine, said):
    local = deploy.read_bundle(bundle)
    again(bundle, selftest=False)
    sha256 = next(blob.sha256 for blob in local.blobs if blob.name == "tokenizer.json")
    kept = machine.home / "blobs" / sha256
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + b"?")

    assert "tokens equal" in again(bundle).selftest
    assert kept.read_bytes() == content
    assert "tokenizer.json does not match its recorded SHA-256" in said[0]
    assert said[0].endswith("what is damaged there is sent again")


@pytest.mark.slow
def test_a_board_that_answers_otherwise_fails_the_deployment(again, tiny_stage, tmp_path):
    bundle = build_bundle(tiny_stage, tmp_path / "tiny").path
    golden = bundle / GOLDEN_FILE
    kept = json.loads(golden.read_text())
    for prompt in kept["prompts"]:
        prompt["output_ids"] = [1] * len(prompt["output_ids"])
    golden.write_text(json.dumps(kept))
    _record_anew(bundle, golden)
    with pytest.raises(ParityExceeded, match=r"bench-board: .* does not answer here as on"):
        again(bundle)


def _record_anew(bundle, changed):
    """Let a bundle's manifest say what a changed file is now."""
    from edgellm.records.folder import file_sha256

    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    for entry in data["files"]:
        if entry["path"] == changed.name:
            entry |= {"bytes": changed.stat().st_size, "sha256": file_sha256(changed)}
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"python": (3, 9, 2)}, r"has Python 3\.9\.2, and 3\.11 or newer is needed"),
        ({"bits": 32}, "needs a 64-bit system"),
        ({"free_bytes": 1000}, "of the disk of bench-board are free"),
        ({"available_bytes": 10 << 20}, "10 MiB of bench-board are available"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_copied(
    again, bundle, machine, monkeypatch, facts, sentence
):
    probe = Board.probe
    monkeypatch.setattr(Board, "probe", lambda self: dataclasses.replace(probe(self), **facts))
    with pytest.raises(DoesNotFit, match=sentence):
        again(bundle)
    assert not machine.home.exists()


def test_a_board_whose_python_is_too_old_is_told_so_without_a_bundle(connection, monkeypatch):
    monkeypatch.setattr(deploy, "OLDEST_PYTHON", (3, 99))
    with (
        pytest.raises(RemoteError, match=r"bench-board has Python 3\..* 3\.99 or newer"),
        deploy.visit(connection),
    ):
        pass


def test_a_bundle_that_lost_a_file_is_refused_before_the_board_is_asked(tiny_stage, tmp_path):
    bundle = build_bundle(tiny_stage, tmp_path / "tiny").path
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(BundleInvalid, match=r"tokenizer\.json is missing or cut off"):
        deploy.read_bundle(bundle)


def test_one_board_that_fails_does_not_stop_the_others(machine, bundle, said):
    local = deploy.read_bundle(bundle)
    nobody = Host("nobody", dataclasses.replace(machine.host.entry, address="nobody.invalid"))

    def work(connection):
        return deploy.deploy(connection, local, Wanted(selftest=False), print)

    failed, done = several.on_all([nobody, machine.host], work, said.append)
    assert isinstance(failed, RemoteError)
    assert "nobody: ssh: Could not resolve hostname nobody.invalid" in str(failed)
    assert done.deployed.path.startswith(str(machine.home))
