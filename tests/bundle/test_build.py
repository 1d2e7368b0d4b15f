import dataclasses
import platform
import shutil
import subprocess

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.bundle import build
from edgellm.bundle.build import GOLDEN_TOKENS, Board, build_bundle
from edgellm.errors import BundleInvalid, DoesNotFit, EdgellmError, UnsupportedModel, UsageError
from edgellm.graph.stage_folder import finish_stage, load_graph, open_stage, save_graph
from edgellm.records import codec
from edgellm.records.golden import GoldenSet
from edgellm.records.manifest import (
    CHAT_TEMPLATE_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    STAGE_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    BundleManifest,
)
from edgellm.records.target import Memory, Software, Target
from edgellm.records.wheels import parse
from edgellm.runner.members import members


@pytest.fixture
def stage(tiny_stage, tmp_path):
    return shutil.copytree(tiny_stage, tmp_path / "stage")


def seal(stage, **facts):
    """Record the folder's files again, after a test changed them."""
    record = open_stage(stage, check=False).record
    (stage / STAGE_FILE).unlink()
    finish_stage(stage, dataclasses.replace(record.model, **facts), record.provenance)


def test_the_manifest_tells_the_whole_history(tiny_stage, tmp_path):
    built = build_bundle(tiny_stage, tmp_path / "smol")

    stage = open_stage(tiny_stage).record
    manifest = codec.read(BundleManifest, tmp_path / "smol" / MANIFEST_FILE)
    assert manifest == built.manifest
    assert [step.action for step in manifest.provenance] == ["export", "bundle"]
    assert manifest.provenance[-1].input_digest == stage.digest
    assert manifest.model == stage.model
    assert manifest.requires["operators:com.microsoft"] == ">=1"
    assert manifest.chat.generation_prompt == "<|im_start|>assistant\n"


def test_the_manifest_lists_every_other_file(tiny_stage, tmp_path):
    built = build_bundle(tiny_stage, tmp_path / "smol")

    listed = {entry.path: entry.bytes for entry in built.manifest.files}
    there = {p.name: p.stat().st_size for p in (tmp_path / "smol").iterdir()}
    del there[MANIFEST_FILE]
    assert listed == there
    assert CHAT_TEMPLATE_FILE not in listed


def test_the_golden_tokens_are_whole(tiny_stage, tmp_path):
    build_bundle(tiny_stage, tmp_path / "smol")

    golden = codec.read(GoldenSet, tmp_path / "smol" / GOLDEN_FILE)
    assert len(golden.prompts) == 3
    assert {len(prompt.output_ids) for prompt in golden.prompts} == {GOLDEN_TOKENS}
    assert {len(prompt.top_ids) for prompt in golden.prompts} == {GOLDEN_TOKENS}


def test_a_folder_and_a_file_have_one_digest(tiny_stage, tmp_path):
    folder = build_bundle(tiny_stage, tmp_path / "smol")
    file = build_bundle(tiny_stage, tmp_path / "smol.edgellm")

    assert (tmp_path / "smol.edgellm").is_file()
    assert folder.manifest.digest == file.manifest.digest


def test_a_template_that_no_table_can_say_is_noted(stage, tmp_path):
    (stage / CHAT_TEMPLATE_FILE).write_text("{{ messages | length }}")
    seal(stage)

    built = build_bundle(stage, tmp_path / "smol")

    assert built.manifest.chat is None
    assert "cannot be written as a table" in built.note
    assert built.manifest.provenance[-1].measured == {"chat_template": built.note}


def test_a_model_without_a_template_is_bundled_without_a_note(stage, tmp_path):
    (stage / CHAT_TEMPLATE_FILE).unlink()
    seal(stage)

    built = build_bundle(stage, tmp_path / "smol")

    assert (built.manifest.chat, built.note) == (None, None)


def test_damaged_weights_are_not_bundled(stage, tmp_path):
    with (stage / WEIGHTS_FILE).open("r+b") as weights:
        weights.write(b"damage")

    with pytest.raises(BundleInvalid, match=WEIGHTS_FILE):
        build_bundle(stage, tmp_path / "smol")
    assert not (tmp_path / "smol").exists()


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
def test_a_file_that_was_damaged_before_it_was_recorded_is_named(stage, tmp_path, name):
    (stage / name).write_bytes((stage / name).read_bytes()[:100])
    seal(stage)

    with pytest.raises(BundleInvalid, match=f"{name} cannot be read"):
        build_bundle(stage, tmp_path / "smol")

    assert not (tmp_path / "smol").exists()


def test_a_model_that_gives_no_numbers_is_not_bundled(stage, tmp_path):
    graph = load_graph(open_stage(stage))
    norm = graph.graph.initializers["final_norm.norm.weight"]
    norm.const_value = ir.tensor(np.full(norm.shape.numpy(), np.inf, np.float32))
    save_graph(graph, tmp_path)
    for name in (MODEL_FILE, WEIGHTS_FILE):
        (tmp_path / name).replace(stage / name)
    seal(stage)

    with pytest.raises(EdgellmError, match="logits are not finite numbers"):
        build_bundle(stage, tmp_path / "smol")


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_an_operator_that_onnxruntime_lacks_is_named(stage, tmp_path, domain):
    graph = load_graph(open_stage(stage))
    node = next(node for node in graph.graph if node.op_type == "QuickGelu")
    node.op_type, node.domain = "Frobnicate", domain
    save_graph(graph, tmp_path)
    for name in (MODEL_FILE, WEIGHTS_FILE):
        (tmp_path / name).replace(stage / name)
    seal(stage)

    with pytest.raises(UnsupportedModel, match=r"the operator \S*Frobnicate of .*model\.onnx"):
        build_bundle(stage, tmp_path / "smol")


def test_operators_that_the_runner_lacks_are_named(stage, tmp_path):
    opened = open_stage(stage)
    graph = load_graph(opened)
    graph.graph.opset_imports["acme.ops"] = 1
    aside = tmp_path / "aside"
    aside.mkdir()
    save_graph(graph, aside)
    shutil.copytree(aside, stage, dirs_exist_ok=True)
    seal(stage)

    with pytest.raises(UnsupportedModel, match=r"domain 'acme\.ops'"):
        build_bundle(stage, tmp_path / "smol")


def test_a_stage_without_a_tokenizer_is_refused(stage, tmp_path):
    (stage / TOKENIZER_FILE).unlink()
    seal(stage)

    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        build_bundle(stage, tmp_path / "smol")


def test_an_existing_bundle_is_kept_unless_forced(tiny_stage, tmp_path):
    output = tmp_path / "smol.edgellm"
    output.write_text("mine")

    with pytest.raises(UsageError, match="exists already"):
        build_bundle(tiny_stage, output)
    assert output.read_text() == "mine"

    build_bundle(tiny_stage, output, force=True)
    assert output.stat().st_size > 1000


PACKAGE = "wheels/numpy-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Let every target need one wheel, which is there; give the targets that were asked for."""
    path = tmp_path / "numpy.whl"
    path.write_bytes(b"wheel")
    asked = []

    def choose(target):
        asked.append(target.id)
        return (parse(PACKAGE),)

    monkeypatch.setattr(build, "choose", choose)
    monkeypatch.setattr(build, "fetch", lambda wheels, progress: dict.fromkeys(wheels, path))
    return asked


def pi(arch="aarch64", mib=4096):
    software = Software(python=("3.11",), glibc="2.36")
    return Target("pi", "Pi", arch, memory=Memory(bytes=mib << 20), software=software)


@pytest.mark.parametrize("output", ["smol", "smol.edgellm"])
def test_a_bundle_for_a_board_brings_its_packages(tiny_stage, tmp_path, fetched, output):
    built = build_bundle(tiny_stage, tmp_path / output, board=Board(pi()))

    assert built.manifest.target == "pi"
    assert built.manifest.wheels == (parse(PACKAGE),)
    assert members(built.path)[PACKAGE].read() == b"wheel"
    assert PACKAGE in {entry.path for entry in built.manifest.files}


@pytest.mark.parametrize(
    ("arch", "here", "asked", "brings"),
    [
        ("aarch64", "x86_64", None, True),
        ("aarch64", "aarch64", None, True),
        ("x86_64", "x86_64", None, False),
        ("x86_64", "aarch64", None, True),
        ("x86_64", "x86_64", True, True),
        ("aarch64", "x86_64", False, False),
    ],
)
def test_packages_go_where_they_are_likely_to_be_missing(
    fetched, monkeypatch, arch, here, asked, brings
):
    monkeypatch.setattr(platform, "machine", lambda: here)

    assert bool(Board(pi(arch), asked).fetch(lambda *_: None)) is brings


def test_packages_for_no_board_in_particular_are_refused(tiny_stage, tmp_path):
    with pytest.raises(UsageError, match="add --target ID"):
        build_bundle(tiny_stage, tmp_path / "smol", board=Board(wheels=True))


def test_pain_18_a_board_that_is_too_small_is_refused_unless_asked_for(
    tiny_stage, tmp_path, fetched
):
    with pytest.raises(DoesNotFit, match="Pi has 8 MiB beside its system"):
        build_bundle(tiny_stage, tmp_path / "smol", board=Board(pi(mib=200)))
    assert not (tmp_path / "smol").exists()

    build_bundle(tiny_stage, tmp_path / "smol", board=Board(pi(mib=200), must_fit=False))


def test_the_script_of_a_folder_says_so_where_python_is_too_old(tiny_stage, tmp_path):
    build_bundle(tiny_stage, tmp_path / "smol")
    old = tmp_path / "bin/python3"
    old.parent.mkdir()
    # As an old Python does: it fails the question for its version, and reads the archive's start.
    old.write_text('#!/bin/sh\n[ "$1" != -c ] && echo "started $*"\n')
    old.chmod(0o755)
    (old.parent / "dirname").symlink_to(shutil.which("dirname"))

    done = subprocess.run(
        ["/bin/sh", tmp_path / "smol/install"],
        env={"PATH": str(old.parent)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"started {tmp_path / 'smol'}/runner.pyz install\n"
