import io
import json
import shutil
import sys

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.records import codec
from edgellm.records.golden import GoldenSet
from edgellm.records.manifest import GOLDEN_FILE
from edgellm.runner.__main__ import COMMANDS, main, run_one
from edgellm.runner.harness import Plan


@pytest.fixture(scope="module")
def bundle(tiny_stage, tmp_path_factory):
    return build_bundle(tiny_stage, tmp_path_factory.mktemp("bundle") / "smol.edgellm").path


@pytest.fixture
def program(bundle, capsys, monkeypatch):
    """Run the program and return its exit code, stdout and stderr."""

    def run(*arguments, stdin=b"", path=bundle):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main([str(path), *arguments])
        return ended.value.code, *capsys.readouterr()

    return run


def answer(program, *arguments, **keywords):
    code, out, err = program("run", "--json", "--max-tokens", "8", *arguments, **keywords)
    assert code == 0, err
    return json.loads(out)


def test_an_answer_is_shown_with_its_figures_apart(program):
    code, out, err = program("run", "--prompt", "hi", "--max-tokens", "8")

    assert code == 0
    assert out.strip()
    assert err.startswith("[prompt 21 tokens, ")
    assert "ended by length]" in err


def test_json_has_counts_times_and_memory(program):
    facts = answer(program, "--prompt", "hi")

    assert facts["output_tokens"] == len(facts["output_ids"]) == 8
    assert facts["finish_reason"] == "length"
    assert min(facts[name] for name in ("load_ns", "prefill_ns", "decode_ns")) > 0
    assert facts["peak_rss_bytes"] > 1 << 20


def test_the_prompt_comes_from_an_option_a_file_or_stdin(program, tmp_path):
    (tmp_path / "prompt.txt").write_text("what?\n")

    answers = [
        answer(program, "--prompt", "what?"),
        answer(program, "--prompt-file", str(tmp_path / "prompt.txt")),
        answer(program, stdin=b"what?\n"),
    ]

    assert len({tuple(facts["output_ids"]) for facts in answers}) == 1


def test_the_chat_template_is_applied_unless_raw(program):
    chat, raw = answer(program, "--prompt", "hi"), answer(program, "--prompt", "hi", "--raw")

    assert (chat["prompt_tokens"], raw["prompt_tokens"]) == (21, 2)


def test_a_seed_repeats_an_answer(program):
    options = ("--prompt", "hi", "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9")

    first = answer(program, *options)
    again = answer(program, *options, "--seed", str(first["seed"]))

    assert again["output_ids"] == first["output_ids"]


def test_a_stop_string_ends_the_answer(program):
    whole = answer(program, "--prompt", "hi")["text"]

    cut = answer(program, "--prompt", "hi", "--stop", whole[2:4])

    assert (cut["text"], cut["finish_reason"]) == (whole[:2], "stop")


def test_a_full_context_ends_the_answer(program):
    facts = answer(program, "--prompt", "hi", "--context", "24")

    assert (facts["finish_reason"], facts["output_tokens"]) == ("context", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "x" * 200], "the prompt has 219 tokens, the context holds 128: shorten"),
        (["--prompt", "hi", "--context", "999"], "context 999 is not possible"),
        (["--prompt", "a\udcff"], "--prompt is not valid UTF-8: byte 1 is 0xff"),
        (["--prompt-file", "/nothing"], "/nothing cannot be read (No such file or directory)"),
        (["--prompt", "hi", "--temperature", "-1"], "temperature -1.0 is not possible"),
        (["--prompt", "hi", "--max-tokens", "0"], "max tokens 0 is not possible"),
        (["--prompt", "hi", "--threads", "-1"], "threads -1 is not possible"),
        (["--prompt", "hi", "--cpus", "9999"], "core 9999 is not available"),
        (["--prompt", "hi", "--raw", "--system", "s"], "--system needs a chat template"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(program, arguments, message):
    code, out, err = program("run", *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("edgellm-run: ")
    assert message in err
    assert err.count("\n") == 1


def test_bytes_on_stdin_that_are_no_text_are_named(program):
    code, _, err = program("run", stdin=b"caf\xe9!")

    assert code == 2
    assert "the prompt on stdin is not valid UTF-8: byte 3 is 0xe9" in err


def test_a_missing_bundle_is_a_sentence(program, tmp_path):
    code, _, err = program("run", "--prompt", "hi", path=tmp_path / "nothing")

    assert code == 2
    assert "nothing does not exist; make it with: edgellm bundle" in err


def test_selftest_says_that_all_is_equal(program):
    code, out, _ = program("selftest")

    assert code == 0
    assert "met on" in out
    assert out.count("all 16 tokens equal") == 3


def test_selftest_fails_where_the_model_answers_otherwise(program, tiny_stage, tmp_path):
    import dataclasses

    from edgellm.records import folder
    from edgellm.records.manifest import MANIFEST_FILE, BundleManifest

    made = build_bundle(tiny_stage, tmp_path / "smol").path
    goldens = codec.read(GoldenSet, made / GOLDEN_FILE)
    first = dataclasses.replace(
        goldens.prompts[0],
        top_logits=tuple(x[::-1] for x in goldens.prompts[0].top_logits),
    )
    changed = dataclasses.replace(goldens, prompts=(first, *goldens.prompts[1:]))
    codec.write(made / GOLDEN_FILE, changed)
    manifest = codec.read(BundleManifest, made / MANIFEST_FILE)
    names = [entry.path for entry in manifest.files]
    codec.write(
        made / MANIFEST_FILE,
        dataclasses.replace(manifest, files=folder.entries(made, names)),
    )

    code, out, err = program("selftest", path=made)

    assert code == 5
    assert "NOT MET" in out
    assert "does not answer here as on the machine that made it" in err
    assert "the mean KL divergence is" in err


def test_inspect_shows_what_the_bundle_says(program):
    code, out, _ = program("inspect")

    assert code == 0
    assert "made by     export -> bundle" in out
    assert "chat roles  user, assistant, system" in out
    assert "model.onnx.data" in out


def test_bench_writes_its_report(program, tmp_path):
    report = tmp_path / "report.json"

    code, out, _ = program(
        *("bench", "--prompt-tokens", "4", "--output-tokens", "2", "--repetitions", "1"),
        *("--warmup", "0", "--threads", "1", "-o", str(report)),
    )

    assert code == 0
    assert "prefill" in out
    assert json.loads(report.read_text())["workload"]["prompt_tokens"] == 4


def test_ctrl_c_ends_with_130(program, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgellm.runner.load.open_bundle", interrupt)

    code, _, err = program("run", "--prompt", "hi")

    assert (code, err) == (130, "\nedgellm-run: interrupted\n")


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])

    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"    {name} " in shown
        assert command.help.split()[0] in shown


def test_bench_says_its_defaults(program):
    _, out, _ = program("bench", "--help")

    plan = Plan()
    for name in ("prompt_tokens", "output_tokens", "warmup"):
        option = out.split(f"\n  --{name.replace('_', '-')} ")[1].split("\n  -")[0]
        assert f"({getattr(plan, name)})" in option


def test_bench_keeps_a_report_unless_forced(program, tmp_path):
    report = tmp_path / "report.json"
    report.write_text("kept")
    few = ("bench", "--quick", "-o", str(report), "--prompt-tokens", "9", "--output-tokens", "2")

    code, _, err = program(*few)

    assert (code, report.read_text()) == (2, "kept")
    assert "report.json exists already; choose another output or add --force" in err
    assert program(*few, "--repetitions", "1", "--force")[0] == 0
    assert report.read_text() != "kept"


def test_a_terminal_that_is_not_utf8_shows_what_it_can(bundle, monkeypatch):
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))

    wild = ["--temperature", "9", "--seed", "1"]
    code = run_one("run", [str(bundle), "--prompt", "hi", "--max-tokens", "64", *wild])

    assert code == 0
    assert b"\\" in screen.getvalue()


def test_no_stdout_at_all_is_no_error(bundle, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    assert run_one("run", [str(bundle), "--prompt", "hi", "--max-tokens", "2"]) == 0


def test_the_host_runs_the_same_command(bundle, capsys):
    code = run_one("run", [str(bundle), "--prompt", "hi", "--max-tokens", "4", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["output_tokens"] == 4


def test_a_damaged_bundle_is_named(program, bundle, tmp_path):
    copy = shutil.copyfile(bundle, tmp_path / "cut.edgellm")
    copy.write_bytes(copy.read_bytes()[:-1000])

    code, _, err = program("run", "--prompt", "hi", path=copy)

    assert code == 4
    assert "cut.edgellm" in err
