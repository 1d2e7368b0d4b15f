import pytest
from click.testing import CliRunner

from edgellm.bundle.build import build_bundle
from edgellm.cli.bench import command
from edgellm.records import report


def test_a_bundle_is_measured_and_its_report_reads_back(tmp_path, tiny_stage):
    bundle, output = tmp_path / "tiny.edgellm", tmp_path / "r.json"
    build_bundle(tiny_stage, bundle)
    result = CliRunner().invoke(
        command,
        [
            str(bundle),
            "-o",
            str(output),
            "--prompt-tokens",
            "9",
            "--output-tokens",
            "3",
            "--repetitions",
            "2",
            "--threads",
            "1",
        ],
    )
    assert result.exit_code == 0, result.output
    made = report.read(output)
    ran = ["load", "tokenize", "prefill", "decode", "sample", "detokenize"]
    assert [stage.stage for stage in made.stages] == ran
    assert all(ns > 0 for stage in made.stages for ns in stage.wall_ns)
    assert made.workload.prompt_tokens == 9
    assert len(set(made.output_sha256)) == 1
    assert made.memory.peak_rss_bytes >= made.memory.loaded_rss_bytes > 0
    assert f"report: {output}" in result.stdout


def test_json_on_stdout_is_the_report_itself(tmp_path, tiny_stage):
    bundle, output = tmp_path / "tiny.edgellm", tmp_path / "r.json"
    build_bundle(tiny_stage, bundle)
    few = [
        "--quick",
        "--prompt-tokens",
        "9",
        "--output-tokens",
        "2",
        "--repetitions",
        "1",
        "--warmup",
        "0",
    ]
    result = CliRunner().invoke(command, [str(bundle), "-o", str(output), "--json", *few])
    assert result.stdout == output.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.edgellm", "-o", "r.json"], "absent.edgellm does not exist"),
        (["x", "-o", "r.json", "--output-tokens", "1"], "output tokens must be at least 2, not 1"),
        (
            ["x", "-o", "kept.json"],
            "kept.json exists already; choose another output or add --force",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.json").write_text("kept")
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert (tmp_path / "kept.json").read_text() == "kept"
