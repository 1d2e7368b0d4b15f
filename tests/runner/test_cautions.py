import dataclasses

import pytest

from edgellm.records.machine import FrequencyPolicy
from edgellm.records.samples import StageSamples
from edgellm.runner import cautions


def codes(report):
    return [caution.code for caution in cautions.of(report)]


def on(report, **changes):
    return dataclasses.replace(
        report, environment=dataclasses.replace(report.environment, **changes)
    )


def after(report, **changes):
    return on(report, after=dataclasses.replace(report.environment.after, **changes))


def before(report, **changes):
    return on(report, before=dataclasses.replace(report.environment.before, **changes))


def test_a_quiet_board_needs_no_caution(make_report):
    assert codes(make_report()) == []


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("virtual_machine", lambda r: on(r, virtual=True)),
        (
            "cpu_scaling",
            lambda r: on(r, policies=(FrequencyPolicy("policy0", (0,), "ondemand", 1, 2),)),
        ),
        ("busy_machine", lambda r: before(r, load_average=2.1)),
        ("swapping", lambda r: after(r, swap_used_bytes=1 << 20)),
        ("too_many_threads", lambda r: on(r, affinity=(0,))),
        ("output_differs", lambda r: dataclasses.replace(r, output_sha256=("a", "b"))),
        (
            "spread",
            lambda r: dataclasses.replace(r, stages=(StageSamples("decode", 2, (10, 11, 12)),)),
        ),
    ],
)
def test_each_rule_finds_its_fault_and_no_other(make_report, code, spoil):
    assert codes(spoil(make_report())) == [code]


def test_three_repetitions_are_few(make_report):
    assert codes(make_report([100, 100, 100])) == ["few_repetitions"]


def test_a_peak_that_covers_more_is_said(make_report):
    report = make_report()
    memory = dataclasses.replace(report.memory, clean_peak=False)
    assert codes(dataclasses.replace(report, memory=memory)) == ["peak_not_reset"]


def test_a_governor_that_holds_the_clock_is_fine(make_report):
    policy = FrequencyPolicy("policy0", (0,), "performance", 1, 2)
    assert codes(on(make_report(), policies=(policy,))) == []
