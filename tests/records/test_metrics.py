import dataclasses

import pytest

from edgellm.records.metrics import multiplexed, percentile, scaled, series_of, summarize
from edgellm.records.report import BundleFacts
from edgellm.records.samples import CounterSample, StageSamples, Unavailable


def _with_stage(report, name, **changes):
    stages = tuple(
        dataclasses.replace(stage, **changes) if stage.stage == name else stage
        for stage in report.stages
    )
    return dataclasses.replace(report, stages=stages)


def test_ttft_is_tokenize_prefill_and_the_first_sample(make_report):
    assert series_of(make_report([100]))["ttft_ns"] == (1e6 + 100e6 + 0.1e6,)


def test_tpot_is_a_decode_step_and_the_sample_after_it(make_report):
    series = series_of(make_report([100]))
    assert series["tpot_ns"] == (10e6 + 0.1e6,)
    assert series["decode_tokens_per_s"] == pytest.approx((1e9 / 10.1e6,))


def test_a_gap_joins_each_decode_step_with_its_own_sample(make_report):
    report = _with_stage(make_report([100]), "decode", step_ns=((10, 20),))
    report = _with_stage(report, "sample", step_ns=((1000, 1, 2),))
    assert series_of(report)["tpot_ns"] == ((11 + 22) / 2,)


def test_prefill_rate_counts_prompt_tokens(make_report):
    assert series_of(make_report([100]))["prefill_tokens_per_s"] == (640.0,)


def test_stages_that_run_per_token_are_divided_by_tokens(make_report):
    series = series_of(make_report([100]))
    assert series["decode_ns"] == (10e6,)
    assert series["prefill_ns"] == (100e6,)
    assert series["decode_reference_cycles"] == (20e6,)


def test_a_percentile_needs_enough_gaps():
    assert percentile(range(101), 95) == 95
    assert percentile(range(99), 99) == Unavailable("p99", "p99 needs 100 gaps, got 99")


def test_a_multiplexed_count_is_scaled_and_its_share_told(make_report):
    sample = CounterSample(value=1000, enabled_ns=100, running_ns=25)
    assert scaled(sample) == 4000
    stage = StageSamples("prefill", 64, (100,), counters={"cycles": (sample,)})
    assert multiplexed(make_report(stages=(stage,))) == 0.75


def test_a_counter_that_never_ran_has_no_value(make_report):
    stage = StageSamples("prefill", 64, (9,), counters={"cycles": (CounterSample(0, 9, 0),)})
    found = series_of(make_report(stages=(stage,)))["prefill_cycles"]
    assert isinstance(found, Unavailable)
    assert "never ran" in found.why


def test_ipc_is_refused_where_counters_were_multiplexed(make_report):
    def report(running):
        counters = {
            "cycles": (CounterSample(100, 9, running),),
            "instructions": (CounterSample(250, 9, running),),
        }
        return make_report(stages=(StageSamples("decode", 2, (9,), counters=counters),))

    assert series_of(report(9))["decode_ipc"] == (2.5,)
    assert isinstance(series_of(report(8))["decode_ipc"], Unavailable)


def test_a_missing_value_carries_the_recorded_reason(make_report):
    series = series_of(make_report())
    assert series["prefill_cycles"] == Unavailable(
        "prefill_cycles", "no counter in a test (ENOENT)"
    )
    assert series["perplexity"] == Unavailable("perplexity", "not evaluated before bundling")


def test_quality_comes_from_the_bundle(make_report):
    bundle = BundleFacts("tiny", "ab" * 32, 1, {"perplexity": 12.5, "text": "some.txt"})
    assert series_of(make_report(bundle=bundle))["perplexity"] == (12.5,)


def test_the_spread_is_the_median_distance_from_the_median():
    summary = summarize([1, 2, 3, 4, 100])
    assert (summary.median, summary.mad, summary.n) == (3, 1, 5)
