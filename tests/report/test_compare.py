import dataclasses

import pytest

from edgellm.errors import RegressionFound, UsageError
from edgellm.records.metrics import Series
from edgellm.records.report import BundleFacts
from edgellm.records.samples import CounterInfo
from edgellm.report.compare import Comparison, Named, compare, require_no_slowdown


def row(comparison: Comparison, metric: str):
    return next(row for row in comparison.rows if row.metric == metric)


def compared(reference, *others, **options) -> Comparison:
    names = ["a", "b", "c"]
    named = [Named(name, report) for name, report in zip(names, (reference, *others), strict=False)]
    return compare(named, **options)


def times(factor: float, n: int = 5) -> Series:
    return tuple(factor * ms for ms in (100, 101, 99, 100.5, 102)[:n])


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1.5, "worse"),
        (0.5, "better"),
        (1.001, "no difference shown"),
    ],
)
def test_samples_apart_show_a_change(make_report, factor, verdict):
    comparison = compared(make_report(times(1)), make_report(times(factor)))
    change = row(comparison, "prefill_ns").changes[0]
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(factor)
    assert change.interval.low <= change.ratio <= change.interval.high


def test_a_higher_rate_is_better(make_report):
    comparison = compared(make_report(times(1)), make_report(times(0.5)))
    change = row(comparison, "prefill_tokens_per_s").changes[0]
    assert (change.verdict, change.ratio) == ("better", pytest.approx(2))


def test_a_change_below_two_percent_is_no_news_however_certain(make_report):
    exact = [100.0, 100.01, 100.02, 100.03, 100.04]
    comparison = compared(make_report(exact), make_report([1.015 * ms for ms in exact]))
    change = row(comparison, "prefill_ns").changes[0]
    assert change.interval.low > 1
    assert change.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        # The rank test sees a difference (p 0.03), the interval reaches 1.
        ([109, 108, 108, 102, 110], [97, 97, 108, 99, 92]),
        # The interval leaves out 1, the rank test sees nothing (p 0.11).
        ([104, 103, 107, 98], [109, 106, 109, 106]),
    ],
)
def test_both_tests_must_agree_that_there_is_a_change(make_report, reference, candidate):
    comparison = compared(make_report(reference), make_report(candidate))
    assert row(comparison, "prefill_ns").changes[0].verdict == "no difference shown"


def test_three_repetitions_are_too_few(make_report):
    comparison = compared(make_report(times(1, 3)), make_report(times(2, 3)))
    change = row(comparison, "prefill_ns").changes[0]
    assert change.verdict == "too few samples"
    assert change.ratio == pytest.approx(2)


def test_sizes_are_exact_so_one_value_decides(make_report):
    smaller = make_report(bundle=BundleFacts("tiny", "00" * 32, 25 << 20))
    change = row(compared(make_report(), smaller), "bundle_bytes").changes[0]
    assert (change.verdict, change.ratio, change.interval) == ("better", 0.25, None)


def test_a_value_that_only_one_side_has_is_not_compared(make_report):
    evaluated = make_report(bundle=BundleFacts("tiny", "00" * 32, 1, {"kl_divergence": 0.02}))
    kl = row(compared(make_report(), evaluated), "kl_divergence")
    assert kl.cells[0].why == "not evaluated before bundling"
    assert kl.cells[1].median == 0.02
    assert kl.changes[0].verdict == "not comparable"
    assert kl.changes[0].why == "the reference has none: not evaluated before bundling"


def test_counts_of_different_things_are_not_compared(make_report):
    other = CounterInfo("reference_cycles", "CNTVCT, 54 MHz", rate_hz=54e6)
    change = row(
        compared(make_report(), make_report(counters=(other,))), "prefill_reference_cycles"
    ).changes[0]
    assert change.verdict == "not comparable"
    assert "counted differently" in change.why


def evaluated(make_report, digest, **quality):
    return make_report(bundle=BundleFacts("tiny", digest * 32, 1, quality))


def test_quality_on_another_text_is_not_compared(make_report):
    here = evaluated(make_report, "00", perplexity=12.0, text={"name": "a"})
    same = evaluated(make_report, "11", perplexity=15.0, text={"name": "a"})
    other = evaluated(make_report, "22", perplexity=15.0, text={"name": "b"})
    alike, unlike = row(compared(here, same, other), "perplexity").changes
    assert (alike.verdict, alike.ratio) == ("worse", 1.25)
    assert (unlike.verdict, unlike.why) == ("not comparable", "evaluated with another text")


def test_the_reference_of_an_evaluation_has_no_divergence_and_that_is_said(make_report):
    here = evaluated(make_report, "00", perplexity=12.0)
    kl = row(compared(here, here), "kl_divergence")
    assert kl.cells[0].why == "evaluated without a reference"


def with_workload(report, **changes):
    return dataclasses.replace(report, workload=dataclasses.replace(report.workload, **changes))


@pytest.mark.parametrize(
    ("field", "what"), [("prompt_tokens", "prompt tokens"), ("threads", "threads")]
)
def test_another_workload_is_refused(make_report, field, what):
    other = with_workload(make_report(), **{field: 7})
    with pytest.raises(UsageError, match=rf"cannot be compared: {what} is \d+ in a and 7 in b"):
        compared(make_report(), other)


def test_another_workload_is_compared_when_allowed_and_said(make_report):
    other = with_workload(make_report(), threads=1)
    comparison = compared(make_report(), other, allow=True)
    assert comparison.differences == ("threads is 4 in a and 1 in b",)


def on_another_machine(report, **fields):
    moved = dataclasses.replace(report.environment, board="Other Board", affinity=(0,))
    return dataclasses.replace(report, environment=moved, **fields)


def test_one_bundle_on_two_machines_is_a_fair_question(make_report):
    assert compared(make_report(), on_another_machine(make_report())).differences == ()


def test_another_bundle_on_another_machine_is_refused(make_report):
    other = on_another_machine(make_report(), bundle=BundleFacts("b", "00" * 32, 1))
    with pytest.raises(UsageError, match="board is Test Board 4 in a and Other Board in b"):
        compared(make_report(), other)


def on_other_firmware(report, **fields):
    facts = dataclasses.replace(report.environment, firmware={"boot loader": "2025-02-11"})
    return dataclasses.replace(report, environment=facts, **fields)


def test_pain_25_equal_boards_of_other_firmware_are_said_to_differ(make_report):
    comparison = compared(make_report(), on_other_firmware(make_report()))
    assert comparison.fingerprints == ("firmware is unknown in a and boot loader 2025-02-11 in b",)


def test_pain_25_bundles_on_other_firmware_are_not_compared(make_report):
    other = on_other_firmware(make_report(), bundle=BundleFacts("b", "00" * 32, 1))
    with pytest.raises(UsageError, match="firmware is unknown in a and boot loader 2025-02-11 in"):
        compared(make_report(), other)


def test_one_machine_needs_no_explanation(make_report):
    comparison = compared(make_report(), make_report())
    assert (comparison.fingerprints, comparison.explanations) == ((), ())


def test_two_machines_are_explained_stage_by_stage(make_report):
    comparison = compared(make_report(), on_another_machine(make_report(times(2))))
    assert [found.stage for found in comparison.explanations] == ["prefill", "decode"]
    assert comparison.machines == ("Test Board 4", "Other Board")


def test_other_output_is_noted(make_report):
    comparison = compared(make_report(), make_report(output_sha256=("00" * 32,) * 5))
    assert "b: produced other tokens than a" in comparison.notes


def test_one_report_is_no_comparison(make_report):
    with pytest.raises(UsageError, match="two reports or more"):
        compared(make_report())


def test_a_limit_is_held_against_what_is_shown(make_report):
    comparison = compared(make_report(times(1)), make_report(times(1.1)))
    with pytest.raises(RegressionFound, match=r"TTFT of b is 9\.9 % slower than of a, .* is 5 %"):
        require_no_slowdown(comparison, 0.05)
    require_no_slowdown(comparison, 0.15)


def test_a_limit_cannot_be_judged_on_too_few_samples(make_report):
    comparison = compared(make_report(times(1, 2)), make_report(times(1, 2)))
    with pytest.raises(UsageError, match="TTFT of b cannot be judged"):
        require_no_slowdown(comparison, 0.05)


DRIFT = (1, 2, 1.5, 3, 1.2, 2.5, 1.1, 1.7)


def taking_turns(make_report, factor, text="turns", n=8):
    wobble = (1, 1.001, 0.999, 1.002, 0.998, 1.0005, 1.003, 0.997)
    drifting = [100 * factor * d * w for d, w in zip(DRIFT, wobble, strict=True)][:n]
    return make_report(drifting, interleaved=text)


def still(make_report, text="turns"):
    return make_report([100 * d for d in DRIFT], interleaved=text)


def test_reports_that_took_turns_are_judged_by_their_ratios(make_report):
    comparison = compared(still(make_report), taking_turns(make_report, 1.05))
    change = row(comparison, "prefill_ns").changes[0]
    assert comparison.interleaved
    assert (change.verdict, change.ratio) == ("worse", pytest.approx(1.05, rel=0.002))
    assert change.interval.low > 1.045


@pytest.mark.parametrize(("text", "n"), [("other turns", 8), (None, 8), ("turns", 7)])
def test_reports_that_did_not_take_turns_are_judged_apart(make_report, text, n):
    comparison = compared(still(make_report), taking_turns(make_report, 1.05, text, n))
    assert not comparison.interleaved
    assert row(comparison, "prefill_ns").changes[0].verdict == "no difference shown"


def test_five_rounds_are_too_few(make_report):
    five = make_report([100.0] * 5, interleaved="turns")
    assert row(compared(five, five), "prefill_ns").changes[0].verdict == "too few samples"


def spoilt(report):
    after = dataclasses.replace(report.environment.after, swap_used_bytes=1 << 20)
    return dataclasses.replace(
        report, environment=dataclasses.replace(report.environment, after=after)
    )


def test_a_run_that_swapped_is_not_compared(make_report):
    comparison = compared(make_report(), spoilt(make_report()))
    change = row(comparison, "prefill_ns").changes[0]
    assert comparison.verdicts == ("valid", "swapping")
    assert change.verdict == "not comparable"
    assert change.why.startswith("the run of b is swapping: ")


def test_a_limit_on_a_run_that_swapped_says_what_to_mend(make_report):
    comparison = compared(make_report(), spoilt(make_report()))
    with pytest.raises(UsageError, match=r"the run of b is swapping: .*: mend that and measure"):
        require_no_slowdown(comparison, 0.05)


def test_the_size_of_a_bundle_is_compared_however_the_run_went(make_report):
    change = row(compared(spoilt(make_report()), make_report()), "bundle_bytes").changes[0]
    assert change.ratio == 1


def test_a_spoilt_run_is_compared_where_that_is_allowed(make_report):
    reports = [Named("a", spoilt(make_report())), Named("b", make_report())]
    assert row(compare(reports, allow=True), "prefill_ns").changes[0].ratio == 1


def test_a_run_beside_which_others_worked_shows_no_difference(make_report):
    slow = make_report([200, 202, 198, 200, 204])
    state = dataclasses.replace(slow.environment.before, load_average=9.0)
    noisy = dataclasses.replace(
        slow, environment=dataclasses.replace(slow.environment, before=state)
    )
    reports = [Named("a", make_report()), Named("b", noisy)]

    hedged, allowed = compare(reports), compare(reports, allow=True)

    assert hedged.verdicts == ("valid", "noisy neighbour")
    for comparison, verdict in ((hedged, "no difference shown"), (allowed, "worse")):
        (row,) = [row for row in comparison.rows if row.metric == "decode_ns"]
        assert row.changes[0].verdict == verdict
        assert row.changes[0].ratio == pytest.approx(2)


def test_an_emulators_time_is_compared_with_nothing(make_report):
    slow = make_report(times(40))
    emulated = dataclasses.replace(slow.environment, emulation="QEMU virt machine")
    comparison = compared(make_report(), dataclasses.replace(slow, environment=emulated))

    for name in ("prefill_ns", "decode_tokens_per_s"):
        assert "emulator" in row(comparison, name).changes[0].why
    assert row(comparison, "bundle_bytes").changes[0].why is None
