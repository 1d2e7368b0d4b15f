"""``edgellm evaluate`` from its arguments to its words."""

import json
from pathlib import Path

from click.testing import CliRunner

from edgellm.cli import main
from edgellm.records import codec
from edgellm.records.quality import Quality


def evaluate(*args: object) -> tuple[int, str, str]:
    arguments = ["evaluate", *map(str, args), "--threads", "1"]
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_comparison_says_text_and_method(tiny_stage: Path) -> None:
    code, out, _ = evaluate(tiny_stage, "--against", tiny_stage, "--tokens", 600)

    perplexity = out.splitlines()[1].removeprefix("perplexity: ")
    assert code == 0
    assert out == (
        "text: evaluation.txt (599 tokens scored, windows of 128 with stride 64, fed by prefill)\n"
        f"perplexity: {perplexity}\n"
        f"reference: {tiny_stage.name}, perplexity {perplexity}\n"
        "perplexity ratio: 1.0000 (95 % interval 1.0000 to 1.0000, 9 windows)\n"
        "KL divergence, nats: mean 0.0000, p99 0.0000, max 0.0000\n"
        "same top-1: 100.0%\n"
    )


def test_the_record_is_written_and_printed(tiny_stage: Path, tmp_path: Path) -> None:
    options = ["--tokens", 40, "--context", 32, "--stride", 8, "--token-by-token", "--json"]

    code, out, _ = evaluate(tiny_stage, *options, "-o", tmp_path / "quality.json")

    record = codec.read(Quality, tmp_path / "quality.json")
    assert code == 0
    assert json.loads(out) == codec.to_json(record)
    assert (record.context_tokens, record.stride_tokens) == (32, 8)
    assert record.feeding == "token-by-token"


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    code, _, err = evaluate(tmp_path / "absent")

    assert code == 2
    assert str(tmp_path / "absent") in err
