import dataclasses

import pytest

from edgellm.records.machine import FrequencyPolicy, Roof
from edgellm.records.samples import CYCLES, INSTRUCTIONS, CounterInfo, CounterSample
from edgellm.records.views import StageWork
from edgellm.report.explain import explain

HARDWARE = (
    CounterInfo(CYCLES, "perf_event_open, user and kernel"),
    CounterInfo(INSTRUCTIONS, "perf_event_open, user and kernel"),
)


def on(report, **fields):
    return dataclasses.replace(
        report, environment=dataclasses.replace(report.environment, **fields)
    )


def clocked(report, hz):
    return on(report, policies=(FrequencyPolicy("policy0", (0, 1, 2, 3), "performance", None, hz),))


def counted(report, cycles, instructions, infos=HARDWARE):
    stages = tuple(
        dataclasses.replace(
            stage,
            counters={
                name: (CounterSample(value * max(stage.tokens, 1), 1, 1),) * len(stage.wall_ns)
                for name, value in ((CYCLES, cycles), (INSTRUCTIONS, instructions))
            },
        )
        for stage in report.stages
    )
    workload = dataclasses.replace(report.workload, threads=1)
    return dataclasses.replace(report, stages=stages, counters=infos, workload=workload)


def explained(reference, other, stage="decode"):
    return explain("fast", reference, "slow", other, stage)


def slower(make_report, factor=3.0):
    return make_report([factor * ms for ms in (100, 101, 99, 100, 102)])


def test_the_clock_is_a_factor_and_what_it_leaves_is_not_explained(make_report):
    found = explained(clocked(make_report(), int(2.4e9)), clocked(slower(make_report), int(1.2e9)))

    (clock,) = found.factors
    assert clock.ratio == pytest.approx(2)
    assert "1.20 GHz against 2.40" in clock.numbers
    assert found.ratio == pytest.approx(3)
    assert found.rest == pytest.approx(1.5)


def test_counts_of_both_explain_all_of_the_time(make_report):
    # A decode step of 10 and of 30 ms: 20 M cycles at 2 GHz, and 45 M at 1.5 GHz.
    found = explained(
        counted(make_report([100.0] * 5), 20_000_000, 40_000_000),
        counted(make_report([300.0] * 5), 45_000_000, 60_000_000),
    )

    assert [factor.ratio for factor in found.factors] == pytest.approx([1.5, 1.5, 4 / 3])
    assert found.factors[0].numbers == "instructions (60 M against 40 M)"
    assert found.factors[1].numbers == "cycles per instruction (IPC 1.33 against 2.00)"
    assert found.factors[2].numbers == "the clock, measured (1.50 GHz against 2.00)"
    assert found.rest == pytest.approx(1)


def test_counts_in_unlike_modes_are_no_factor(make_report):
    user = tuple(dataclasses.replace(info, exclude_kernel=True) for info in HARDWARE)
    found = explained(
        counted(make_report(), 20_000_000, 40_000_000),
        counted(slower(make_report), 40_000_000, 60_000_000, user),
    )
    assert found.factors == ()
    assert found.rest == pytest.approx(3)


def test_nothing_known_leaves_all_of_it(make_report):
    found = explained(make_report(), slower(make_report))
    assert (found.factors, found.rest) == ((), pytest.approx(3))


def test_arithmetic_and_bandwidth_stand_beside_with_their_numbers(make_report):
    work = (StageWork("layers.0.attention", weight_bytes=100_000_000),)
    fast = dataclasses.replace(
        on(make_report([100.0] * 5), features=("asimd", "asimddp")),
        work=work,
        roofs=(Roof(4, 20e9, {}, 1),),
    )
    slow = dataclasses.replace(
        on(make_report([300.0] * 5), features=("asimd",)), work=work, roofs=(Roof(4, 4e9, {}, 1),)
    )

    assert explained(fast, slow).beside == (
        "arithmetic: aarch64 against aarch64+dotprod",
        "read bandwidth: 0.20x (4 against 20 GB/s); weights ask for 83 % of it against 50 %",
    )


def test_times_of_an_emulator_are_not_explained_and_its_instructions_are_told(make_report):
    plugin = (CounterInfo(INSTRUCTIONS, "a plugin", emulated=True),)
    slow = counted(slower(make_report), 1, 60_000_000, plugin)
    found = explained(
        counted(make_report(), 20_000_000, 40_000_000), on(slow, emulation="qemu-aarch64")
    )

    assert found.factors == ()
    assert "slow ran emulated" in found.why
    assert found.beside[0] == "instructions: 1.50x (60 M against 40 M)"
