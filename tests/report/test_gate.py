import dataclasses

import pytest

from edgellm.errors import UsageError
from edgellm.records.golden import Limits
from edgellm.records.parity import Parity, PromptParity
from edgellm.records.report import BundleFacts
from edgellm.records.samples import INSTRUCTIONS, CounterInfo, CounterSample
from edgellm.report.compare import Named
from edgellm.report.gate import decide
from edgellm.runner import checklist
from edgellm.runner.checklist import Verdict

PLUGIN = CounterInfo(INSTRUCTIONS, "a plugin of qemu, cortex-a76", emulated=True)


def counted(report, millions, *, info=PLUGIN, running=1.0):
    """Give every stage the same instructions, and an emulated processor."""
    stages = tuple(
        dataclasses.replace(
            stage,
            counters={
                INSTRUCTIONS: (CounterSample(round(millions * 1e6), 100, round(100 * running)),)
                * len(stage.wall_ns)
            },
        )
        for stage in report.stages
    )
    emulated = dataclasses.replace(report.environment, emulation="qemu-aarch64, cortex-a76")
    return dataclasses.replace(
        report,
        stages=stages,
        counters=(info,),
        environment=emulated,
        workload=dataclasses.replace(report.workload, threads=1),
    )


def gate(new, baseline, limit=0.05, on=None):
    return decide(Named("new", new), Named("base", baseline), limit, on)


@pytest.fixture
def all_valid(monkeypatch):
    monkeypatch.setattr(checklist, "verdict", lambda report: Verdict("valid"))


def slower(make_report, factor):
    return make_report([factor * ms for ms in (100, 101, 99, 100, 102)])


@pytest.mark.usefixtures("all_valid")
@pytest.mark.parametrize(("factor", "passed"), [(1.1, False), (1.03, True), (0.5, True)])
def test_time_decides_where_both_are_valid(make_report, factor, passed):
    decision = gate(slower(make_report, factor), make_report())
    assert (decision.passed, decision.evidence) == (passed, "time")


@pytest.mark.usefixtures("all_valid")
def test_the_sentences_on_time(make_report):
    assert gate(slower(make_report, 1.1), make_report()).sentence == (
        "TTFT of new is 9.9 % slower than of base, and the limit is 5 %"
    )
    assert gate(slower(make_report, 0.5), make_report()).sentence == (
        "passed on time: the worst is TTFT at -49.46 %, and the limit is 5 %"
    )


@pytest.mark.parametrize(("millions", "passed"), [(101.1, False), (100.9, True), (90, True)])
def test_a_percent_of_instructions_is_told(make_report, millions, passed):
    base = counted(make_report(), 100)
    decision = gate(counted(make_report(), millions), base, 0.01)
    assert (decision.passed, decision.evidence) == (passed, "instructions")


def test_the_sentence_on_instructions(make_report):
    decision = gate(counted(make_report(), 101.1), counted(make_report(), 100), 0.01)
    assert decision.sentence == (
        "decode step, instructions per token: 1.10 % more in new than in base, and the limit is 1 %"
    )


@pytest.mark.usefixtures("all_valid")
def test_time_of_an_emulator_is_no_evidence(make_report):
    both = counted(make_report(), 100)
    with pytest.raises(UsageError, match=r"time cannot decide .new ran emulated: qemu-aarch64"):
        gate(both, both, on="time")


def test_time_of_a_run_that_is_not_valid_is_no_evidence(make_report, monkeypatch):
    verdict = Verdict("throttled", ("the clock fell",))
    monkeypatch.setattr(checklist, "verdict", lambda report: verdict)
    with pytest.raises(UsageError, match=r"time .*throttled: the clock fell.*scripts/emulation"):
        gate(make_report(), make_report())


@pytest.mark.usefixtures("all_valid")
def test_a_limit_below_what_time_shows_needs_instructions(make_report):
    with pytest.raises(UsageError, match=r"changes of time below 2% are not shown"):
        gate(make_report(), make_report(), 0.01)


@pytest.mark.usefixtures("all_valid")
def test_time_of_another_machine_is_no_evidence(make_report):
    report = make_report()
    moved = dataclasses.replace(report.environment, board="Other Board")
    with pytest.raises(UsageError, match="board is Test Board 4 in base and Other Board in new"):
        gate(dataclasses.replace(report, environment=moved), report, on="time")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"running": 0.5}, "counters of new were multiplexed"),
        (
            {"info": CounterInfo(INSTRUCTIONS, "another source")},
            "source of instructions is a plugin of qemu, cortex-a76 in base and another source",
        ),
    ],
)
def test_instructions_that_are_not_alike_are_no_evidence(make_report, changes, sentence):
    new = counted(make_report(), 100, **changes)
    with pytest.raises(UsageError, match=sentence):
        gate(new, counted(make_report(), 100), on="instructions")


def test_instructions_that_were_not_counted_are_no_evidence(make_report):
    with pytest.raises(UsageError, match=r"instructions cannot decide .new has none: no counter"):
        gate(make_report(), make_report(), on="instructions")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda r: {"bundle": BundleFacts("other", "ab" * 32, 1)},
            "name is tiny in base and other",
        ),
        (
            lambda r: {"workload": dataclasses.replace(r.workload, threads=1)},
            "threads is 4 in base and 1 in new",
        ),
    ],
)
def test_another_question_is_refused(make_report, change, sentence):
    report = make_report()
    with pytest.raises(UsageError, match=sentence):
        gate(dataclasses.replace(report, **change(report)), report)


@pytest.mark.usefixtures("all_valid")
def test_another_digest_is_the_question_itself(make_report):
    rebuilt = make_report(bundle=BundleFacts("tiny", "00" * 32, 1))
    assert gate(rebuilt, make_report()).passed


def with_parity(report, kl, mean_limit=0.01):
    prompt = PromptParity(2, 2, None, (kl, kl))
    limits = Limits(mean_limit, 1.0, 1.0)
    found = Parity("aarch64", "x86_64, onnxruntime 1.32.0", (prompt,), limits)
    return dataclasses.replace(report, parity=found)


@pytest.mark.usefixtures("all_valid")
def test_pain_19_a_board_that_answers_otherwise_does_not_pass_however_fast(make_report):
    decision = gate(with_parity(slower(make_report, 0.5), kl=0.3), make_report())
    assert (decision.passed, decision.evidence) == (False, "parity")
    assert decision.sentence == (
        "new does not answer like the machine that made its bundle (x86_64, onnxruntime 1.32.0): "
        "the mean KL divergence is 0.3 nats and the limit 0.01"
    )


@pytest.mark.usefixtures("all_valid")
def test_pain_19_honest_rounding_passes(make_report):
    assert gate(with_parity(make_report(), kl=0.005), make_report()).passed


@pytest.mark.usefixtures("all_valid")
def test_logits_that_are_no_numbers_do_not_pass(make_report):
    decision = gate(with_parity(make_report(), kl=None), make_report())
    assert (decision.passed, decision.evidence) == (False, "parity")


def test_another_prompt_of_the_same_length_is_refused(make_report):
    report = make_report()
    other = dataclasses.replace(report.workload, prompt_sha256="00" * 32)
    with pytest.raises(UsageError, match="prompt's digest is cdcdcdcdcdcd in base and 0000"):
        gate(dataclasses.replace(report, workload=other), report)


def test_instructions_of_several_threads_are_no_evidence(make_report):
    both = counted(make_report(), 100)
    both = dataclasses.replace(both, workload=dataclasses.replace(both.workload, threads=2))
    with pytest.raises(UsageError, match="has 2 threads, which wait in loops of no fixed length"):
        gate(both, both, on="instructions")


@pytest.mark.usefixtures("all_valid")
def test_pain_25_time_after_a_change_of_firmware_is_no_evidence(make_report):
    report = make_report()
    facts = dataclasses.replace(report.environment, firmware={"boot loader": "2024-12-01"})
    with pytest.raises(UsageError, match="firmware is boot loader 2024-12-01 in base and unknown"):
        gate(report, dataclasses.replace(report, environment=facts), on="time")
