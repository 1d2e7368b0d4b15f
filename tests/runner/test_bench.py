from edgellm.bundle.build import build_bundle
from edgellm.records import codec, report
from edgellm.records.progress import silent
from edgellm.runner.bench import with_parity
from edgellm.runner.plan import Plan

PLAN = Plan(prompt_tokens=6, output_tokens=4, threads=1)


def test_a_report_carries_parity_and_comes_back_with_it(tiny_stage, tmp_path, make_report):
    bundle = build_bundle(tiny_stage, tmp_path / "tiny").path

    found = with_parity(make_report(), bundle, PLAN, silent, wanted=True)

    codec.write(tmp_path / "r.json", found)
    assert found.parity.met is True
    assert report.read(tmp_path / "r.json") == found


def test_parity_that_was_left_out_is_said_with_its_reason(tmp_path, make_report):
    found = with_parity(make_report(), tmp_path, PLAN, silent, wanted=False)

    assert found.parity is None
    assert "parity not measured: it was left out by --no-parity" in found.missing()
