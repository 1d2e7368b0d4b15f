import dataclasses

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.quantize.pipeline import quantize_stage
from edgellm.quantize.scheme import SCHEMES, Kernel
from edgellm.records.progress import silent
from edgellm.records.views import OperatorTime, ProfiledPhase, Views
from edgellm.runner import profile, profile_text
from edgellm.runner.harness import THIS_MACHINE
from edgellm.runner.load import open_bundle
from edgellm.runner.plan import Plan

PLAN = Plan(prompt_tokens=9, output_tokens=4, threads=1)


def run(start, *kernels):
    """Return the events of one call: name, operator and time of each kernel, one after another."""
    events = [{"cat": "Session", "name": "model_run", "ts": start, "dur": 100}]
    at = start
    for name, operator, took in kernels:
        node = {"ts": at, "dur": took, "args": {"op_name": operator}}
        events.append({"cat": "Node", "name": f"{name}_kernel_time", **node})
        at += took
    return events


def test_kernels_belong_to_the_call_that_they_ran_in():
    first = run(0, ("layers.0.attention.qkv", "MatMulNBits", 30), ("head.logits", "Gemm", 10))
    second = run(200, ("layers.0.attention.qkv", "MatMulNBits", 40))
    calls = profile._calls([*second, *first, {"cat": "Session", "name": "session_load"}])
    assert [[event["dur"] for event in call] for call in calls] == [[30, 10], [40]]


def test_layers_are_summed_and_foreign_nodes_set_apart():
    events = run(
        0,
        ("layers.0.attention.qkv", "MatMulNBits", 30),
        ("layers.1.attention.output", "MatMulNBits", 20),
        ("layers.1.attention_norm.norm", "SimplifiedLayerNormalization", 5),
        ("Cast_17", "Cast", 1),
    )
    phase = profile._phase("decode", 9, 1, profile._calls(events), [100_000])
    assert phase.operators == (
        OperatorTime("attention", "MatMulNBits", 2, 50_000),
        OperatorTime("attention_norm", "SimplifiedLayerNormalization", 1, 5_000),
        OperatorTime("other", "Cast", 1, 1_000),
    )


@pytest.fixture
def phases(tmp_path, tiny_stage):
    path = tmp_path / "tiny.edgellm"
    build_bundle(tiny_stage, path)
    return profile.profile_calls(open_bundle(path), PLAN, THIS_MACHINE, silent)


def test_a_real_profile_names_every_stage_of_both_phases(phases):
    prefill, decode = phases
    stages = {"embedding", "attention_norm", "attention", "feed_forward", "final_norm", "head"}
    for phase in phases:
        assert stages <= {item.stage for item in phase.operators}
        assert len(phase.profiled_ns) == phase.calls > 0
    assert (prefill.tokens, decode.context_tokens, decode.tokens) == (9, 9, 1)
    attention = [i for i in decode.operators if i.operator == "GroupQueryAttention"]
    assert attention[0].calls % decode.calls == 0


def test_what_onnxruntime_makes_of_our_operators_belongs_to_their_stages(tmp_path, tiny_stage):
    layers = {"feed_forward.down": Kernel("blocks", 4)}
    scheme = dataclasses.replace(SCHEMES["int8-dynamic"], layers=layers)
    quantize_stage(tiny_stage, tmp_path / "small", scheme, calibrate=False)
    build_bundle(tmp_path / "small", tmp_path / "small.edgellm")

    opened = open_bundle(tmp_path / "small.edgellm")
    _, decode = profile.profile_calls(opened, PLAN, THIS_MACHINE, silent)
    found = {(i.stage, i.operator): i.calls // decode.calls for i in decode.operators}
    assert found["attention", "MatMulInteger"] == 4  # two of each layer
    assert found["feed_forward", "MatMulInteger"] == 2
    assert found["feed_forward", "MatMulNBits"] == 2
    assert found["head", "MatMulInteger"] == 1


def test_a_profile_is_shown_as_shares_with_what_it_costs(make_report):
    operators = (
        OperatorTime("attention", "MatMulNBits", 2, 60),
        OperatorTime("attention", "Split", 2, 15),
        OperatorTime("head", "MatMulNBits", 1, 25),
    )
    view = ProfiledPhase("decode", 64, 1, 2, operators, (15_000_000, 15_000_000))
    (lines,) = profile_text.tables(make_report(views=Views(profiled=(view,))))
    assert lines == [
        "decode by onnxruntime's profile, in shares only: while profiled it takes "
        "1.50x the clean time",
        "  attention   75.0 %  MatMulNBits 60.0 %, Split 15.0 %",
        "  head        25.0 %  MatMulNBits 25.0 %",
    ]


def test_the_profile_leaves_no_file(tmp_path, monkeypatch, tiny_stage):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.edgellm"
    build_bundle(tiny_stage, path)
    profile.profile_calls(open_bundle(path), PLAN, THIS_MACHINE, silent)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.edgellm"]
