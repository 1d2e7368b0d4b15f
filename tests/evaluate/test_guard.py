"""Limits on what quantization may lose."""

import dataclasses
from pathlib import Path

import pytest

from edgellm.errors import ParityExceeded
from edgellm.evaluate.guard import LIMITS, Limits, Verdict, examine, first_within
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.quantize.scheme import Scheme

LOOSE = Limits(10.0, 10.0)


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch, calibration_file: Path) -> None:
    monkeypatch.setattr("edgellm.evaluate.text.DEFAULT", calibration_file)


@pytest.fixture(scope="module")
def int8(tiny_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard") / "int8"
    quantize_stage(tiny_stage, folder, choose_scheme("int8", {}))
    return folder


def test_prefill_and_decode_are_both_measured(int8: Path, tiny_stage: Path) -> None:
    verdict = examine(int8, tiny_stage, LOOSE)

    assert (verdict.prefill.feeding, verdict.decode.feeding) == ("prefill", "token-by-token")
    assert verdict.prefill.text == verdict.decode.text
    assert verdict.prefill.reference_perplexity == verdict.decode.reference_perplexity
    assert verdict.prefill.kl_divergence == pytest.approx(verdict.decode.kl_divergence, rel=0.1)
    assert verdict.kept
    assert str(verdict).startswith("prefill: perplexity ")


@pytest.mark.parametrize("worse", ["prefill", "decode"])
def test_neither_may_lose_too_much(worse: str, int8: Path, tiny_stage: Path) -> None:
    verdict = examine(int8, tiny_stage, LOOSE)
    quality = getattr(verdict, worse)
    doubled = dataclasses.replace(quality, perplexity=2 * quality.perplexity)
    limited = dataclasses.replace(verdict, limits=Limits(0.5, 10))

    assert limited.kept
    assert not dataclasses.replace(limited, **{worse: doubled}).kept


@pytest.mark.parametrize("limits", [Limits(-0.5, 10), Limits(10, 0)])
def test_either_limit_can_be_crossed(limits: Limits, int8: Path, tiny_stage: Path) -> None:
    assert not examine(int8, tiny_stage, limits).kept


def test_fewer_bits_may_lose_more() -> None:
    assert LIMITS[8].perplexity == 0.015
    assert LIMITS[4].perplexity > LIMITS[8].perplexity


def make(scheme: Scheme, place: Path, stage: Path) -> None:
    quantize_stage(stage, place, scheme, calibrate=False, force=True)


def test_the_first_that_keeps_its_limits_is_taken(tiny_stage: Path, tmp_path: Path) -> None:
    schemes = [choose_scheme(name, {}) for name in ("int4", "int8", "fp32")]
    rough = examine_once(schemes[0], tiny_stage, tmp_path)

    def judge(scheme: Scheme, place: Path) -> Verdict:
        allowed = rough.prefill.kl_divergence
        assert allowed is not None
        return examine(place, tiny_stage, Limits(10, allowed / 4))

    tried = first_within(
        schemes, lambda s, place: make(s, place, tiny_stage), judge, tmp_path / "out"
    )

    assert [attempt.candidate.name for attempt in tried] == ["int4", "int8"]
    assert [attempt.verdict.kept for attempt in tried] == [False, True]
    assert (tmp_path / "out" / "stage.json").is_file()


def examine_once(scheme: Scheme, stage: Path, tmp_path: Path) -> Verdict:
    make(scheme, tmp_path / "once", stage)
    return examine(tmp_path / "once", stage, LOOSE)


def test_where_none_keeps_them_the_figures_are_said_and_nothing_is_left(
    tiny_stage: Path, tmp_path: Path
) -> None:
    def judge(scheme: Scheme, place: Path) -> Verdict:
        return examine(place, tiny_stage, Limits(10, 0))

    with pytest.raises(ParityExceeded, match=r"none of 1 ways .*KL divergence 0\.\d+ .*--max-kl"):
        first_within(
            [choose_scheme("int8", {})],
            lambda s, place: make(s, place, tiny_stage),
            judge,
            tmp_path / "out",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.txt"]
