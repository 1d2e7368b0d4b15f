"""Evaluation of models whose figures are known beforehand."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import UsageError
from edgellm.evaluate.quality import Method, evaluate, ratio_interval
from edgellm.evaluate.subject import Subject, open_subject
from edgellm.graph.stage_folder import derive_stage, load_graph, open_stage
from edgellm.graph.text import Text
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.records.manifest import Step
from edgellm.records.quality import WindowScore

TEXT = Text("text.txt", "It was a dark and stormy night; the rain fell in torrents." * 3)
METHOD = Method(context_tokens=48, stride_tokens=24)


@pytest.fixture
def tiny(tiny_stage: Path) -> Subject:
    return open_subject(tiny_stage)


@pytest.fixture
def uniform(tiny_stage: Path, tmp_path: Path) -> Subject:
    """Give a model that finds every token equally likely: its final norm gives zeros."""
    stage = open_stage(tiny_stage)
    graph = load_graph(stage)
    gamma = graph.graph.initializers["final_norm.norm.weight"]
    gamma.const_value = ir.tensor(np.zeros(32, np.float32), name=gamma.name)
    derive_stage(stage, tmp_path / "uniform", graph, Step("export", {}, {}, {}))
    return open_subject(tmp_path / "uniform")


@pytest.fixture
def int8(tiny_stage: Path, tmp_path: Path) -> Subject:
    quantize_stage(tiny_stage, tmp_path / "int8", choose_scheme("int8", {}))
    return open_subject(tmp_path / "int8")


@pytest.mark.parametrize("feeding", ["prefill", "token-by-token"])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(
    uniform: Subject, feeding: str
) -> None:
    method = dataclasses.replace(METHOD, feeding=feeding)

    quality = evaluate(uniform, TEXT, method, threads=1)

    assert quality.perplexity == pytest.approx(258)
    assert quality.text.scored_tokens == quality.text.tokens - 1 == len(TEXT.content) - 1
    assert quality.reference is quality.kl_divergence is None


def test_a_model_does_not_differ_from_itself(tiny: Subject) -> None:
    quality = evaluate(tiny, TEXT, METHOD, tiny, threads=1)

    assert quality.kl_divergence == quality.kl_divergence_max == 0
    assert quality.top1_agreement == 1
    assert quality.perplexity == quality.reference_perplexity
    ratio = quality.perplexity_ratio
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)


def test_a_quantized_model_differs_a_little(tiny: Subject, int8: Subject) -> None:
    quality = evaluate(int8, TEXT, METHOD, tiny, threads=1)

    assert quality.kl_divergence is not None
    assert quality.kl_divergence_p99 is not None
    assert quality.kl_divergence_max is not None
    assert 0 < quality.kl_divergence < quality.kl_divergence_p99 <= quality.kl_divergence_max < 1
    assert quality.top1_agreement is not None
    assert 0.5 < quality.top1_agreement <= 1
    assert quality.perplexity != quality.reference_perplexity


def test_alone_and_compared_it_has_the_same_perplexity(tiny: Subject, uniform: Subject) -> None:
    alone = evaluate(tiny, TEXT, METHOD, threads=1)
    compared = evaluate(tiny, TEXT, METHOD, uniform, threads=1)

    assert compared.perplexity == pytest.approx(alone.perplexity)
    assert compared.reference_perplexity == pytest.approx(258)


def test_float_models_score_the_same_token_by_token(tiny: Subject) -> None:
    whole, single = (
        evaluate(tiny, TEXT, dataclasses.replace(METHOD, feeding=feeding), threads=1)
        for feeding in ("prefill", "token-by-token")
    )

    assert single.perplexity == pytest.approx(whole.perplexity, rel=1e-4)


def test_a_limit_takes_the_beginning_of_the_text(tiny: Subject) -> None:
    limited = evaluate(tiny, TEXT, dataclasses.replace(METHOD, limit_tokens=30), threads=1)
    short = evaluate(tiny, Text("x", TEXT.content[:30]), METHOD, threads=1)

    assert limited.text.scored_tokens == 29
    assert limited.windows == short.windows


def test_models_with_other_tokens_are_not_compared(tiny: Subject) -> None:
    model = dataclasses.replace(tiny.model, vocab_size=300)

    with pytest.raises(UsageError, match="have other tokens"):
        evaluate(tiny, TEXT, METHOD, dataclasses.replace(tiny, model=model), threads=1)


def test_few_windows_give_no_interval_but_the_reason(tiny: Subject) -> None:
    quality = evaluate(tiny, TEXT, Method(128, 64), tiny, threads=1)

    assert quality.perplexity_ratio is None
    assert quality.unavailable[0].why == "an interval needs 5 windows, there are 2"


def test_an_interval_ignores_what_is_hard_for_both_models() -> None:
    rng = np.random.default_rng(1)
    hard = rng.uniform(100, 900, 20)
    windows = [
        WindowScore(100, nll + 2 + noise, nll)
        for nll, noise in zip(hard, rng.normal(0, 0.5, 20), strict=True)
    ]

    ratio = ratio_interval(windows)

    assert ratio is not None
    assert ratio.low < ratio.value < ratio.high
    assert ratio.value == pytest.approx(math.exp(0.02), abs=0.005)
    assert ratio.high - ratio.low < 0.01


def test_an_interval_weighs_windows_by_their_tokens() -> None:
    windows = [WindowScore(1000, 1000.0, 0.0)] * 5 + [WindowScore(1, 9.0, 0.0)]

    ratio = ratio_interval(windows)

    assert ratio is not None
    assert ratio.value == pytest.approx(math.exp(5009 / 5001))


def test_a_bundle_is_evaluated_like_its_folder(
    tiny: Subject, tiny_stage: Path, tmp_path: Path
) -> None:
    bundle = open_subject(build_bundle(tiny_stage, tmp_path / "tiny.edgellm").path)

    quality = evaluate(bundle, TEXT, METHOD, tiny, threads=1)

    assert quality.kl_divergence == 0
    assert quality.model.digest != tiny.identity.digest
