import json

from click.testing import CliRunner

from edgellm.cli.bundle import command
from edgellm.graph.stage_folder import open_stage
from edgellm.records import codec
from edgellm.records.manifest import MANIFEST_FILE, BundleManifest
from edgellm.records.quality import Evaluated, Quality, TextUsed


def test_the_result_says_where_and_how_large(tiny_stage, tmp_path):
    result = CliRunner().invoke(
        command, [str(tiny_stage), "-o", str(tmp_path / "smol.edgellm"), "--json"]
    )

    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["bundle"] == str(tmp_path / "smol.edgellm")
    assert 0 < facts["bytes"] < (tmp_path / "smol.edgellm").stat().st_size
    assert facts["note"] is None


def test_what_evaluate_found_goes_with_the_bundle(tiny_stage, tmp_path):
    quality = Quality(
        model=Evaluated("tiny", open_stage(tiny_stage).record.digest),
        text=TextUsed("words", "ab" * 32, 100, 99),
        context_tokens=100,
        stride_tokens=50,
        feeding="prefill",
        windows=(),
        perplexity=12.5,
    )
    codec.write(tmp_path / "quality.json", quality)

    result = CliRunner().invoke(
        command,
        [
            *(str(tiny_stage), "-o", str(tmp_path / "smol")),
            *("--quality", str(tmp_path / "quality.json")),
        ],
    )

    assert result.exit_code == 0, result.output
    manifest = codec.read(BundleManifest, tmp_path / "smol" / MANIFEST_FILE)
    assert manifest.quality["perplexity"] == 12.5


def test_another_folder_than_a_stage_is_one_sentence(tmp_path):
    result = CliRunner().invoke(command, [str(tmp_path), "-o", str(tmp_path / "smol")])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"edgellm: {tmp_path} is not a stage folder")
