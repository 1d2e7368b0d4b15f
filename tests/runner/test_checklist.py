import dataclasses

import pytest

from edgellm.measure.throttle import ALARM, FIRMWARE
from edgellm.records.machine import CpuTime, FrequencyPolicy, MachineSample, Roof, Timeline
from edgellm.records.report import Depth
from edgellm.records.samples import CounterInfo, CounterSample, StageSamples
from edgellm.records.views import StagedPhase, StagedView, Views
from edgellm.runner.checklist import STATUSES, checks, render_checks, verdict

S = 1_000_000_000
GHZ = 1_000_000_000
HELD = FrequencyPolicy("policy0", (0, 1, 2, 3), "performance", GHZ, 2 * GHZ)


def sample(at_ns=0, hz=1_800_000_000, **throttle):
    return MachineSample(at_ns, {"policy0": hz}, {"0 cpu": 48.5}, throttle, 0.1, 0)


def timeline(*samples):
    return Timeline(S, 1000, 10 * S, samples)


def on(report, **changes):
    return dataclasses.replace(
        report, environment=dataclasses.replace(report.environment, **changes)
    )


def after(report, **changes):
    return on(report, after=dataclasses.replace(report.environment.after, **changes))


def before(report, **changes):
    return on(report, before=dataclasses.replace(report.environment.before, **changes))


def memory(report, **changes):
    return dataclasses.replace(report, memory=dataclasses.replace(report.memory, **changes))


def threads(report, n):
    return dataclasses.replace(report, workload=dataclasses.replace(report.workload, threads=n))


def replace_decode(report, **changes):
    stages = [
        dataclasses.replace(stage, **changes) if stage.stage == "decode" else stage
        for stage in report.stages
    ]
    return dataclasses.replace(report, stages=tuple(stages))


@pytest.fixture
def board(make_report):
    """Give a run on a quiet board of which everything was recorded."""
    decode = make_report().stage("decode")
    report = make_report(
        start_ns=(0,) * 5,
        boundary_ns=(300,),
        timeline=timeline(sample(), sample(S)),
        depths=(Depth(0, decode), Depth(512, decode)),
        roofs=(Roof(4, 4e9, {"float32": 2e10}, 1 << 28),),
    )
    report = on(report, policies=(HELD,), features=("asimd",))
    report = before(report, cpu_time=CpuTime(0, 0, 0), throttle={FIRMWARE: 0})
    return memory(after(report, cpu_time=CpuTime(31 * S, 0, 30 * S)), major_faults=0)


def counting(report, hz, **info):
    """Count cycles of decode on one thread at a measured clock."""
    decode = report.stage("decode")
    cycles = tuple(CounterSample(round(ns * hz / 1e9), ns, ns) for ns in decode.wall_ns)
    report = replace_decode(report, counters={"cycles": cycles})
    return dataclasses.replace(
        threads(report, 1), counters=(CounterInfo("cycles", "a test", **info),)
    )


def staged(report, stage_ms):
    """Cut a prefill of 10 ms into one stage."""
    cuts = (StageSamples("head cut", 64, (0,)),)
    phase = StagedPhase(
        "prefill", 0, 1, 64, (StageSamples("head", 64, (stage_ms,)),), cuts, whole_ns=(10,)
    )
    return dataclasses.replace(report, views=Views(StagedView((phase,), 0.0)))


def found(report, *statuses):
    return {check.number: check.status for check in checks(report) if check.status in statuses}


KNOWN_OF_BOARD = {2: "warn", 3: "warn", 9: "unknown"}
"""Ten gaps, no evaluation, no hardware cycles."""


def test_a_quiet_board_is_valid(board):
    assert verdict(board).word == "valid"
    assert verdict(board).reasons == ()
    assert found(board, "warn", "fail", "unknown") == KNOWN_OF_BOARD


def test_there_are_twenty_rows_in_order_each_with_a_sentence(board):
    rows = checks(board)
    assert [row.number for row in rows] == list(range(1, 21))
    assert all(row.sentence and row.status in STATUSES for row in rows)


SPREAD = (10, 11, 12, 10, 12)


@pytest.mark.parametrize(
    ("word", "rows", "spoil"),
    [
        ("throttled", {10}, lambda r: after(r, throttle={FIRMWARE: 0x40000})),
        (
            "throttled",
            {10},
            lambda r: dataclasses.replace(r, timeline=timeline(sample(**{FIRMWARE: 0x4}))),
        ),
        ("throttled", {10}, lambda r: after(r, throttle={ALARM: 1})),
        (
            "throttled",
            {10},
            lambda r: after(
                before(r, throttle={"core throttle events": 2}),
                throttle={"core throttle events": 3},
            ),
        ),
        (
            "throttled",
            {10},
            lambda r: dataclasses.replace(r, timeline=timeline(sample(), sample(S, 1_700_000_000))),
        ),
        ("throttled", {9}, lambda r: counting(r, 1_700_000_000)),
        ("swapping", {8}, lambda r: after(r, swap_used_bytes=1 << 20)),
        ("swapping", {8}, lambda r: memory(r, major_faults=6)),
        (
            "noisy neighbour",
            {8},
            lambda r: before(after(r, cpu_time=None), load_average=2.1),
        ),
        ("noisy neighbour", {8}, lambda r: after(r, cpu_time=CpuTime(33 * S, 0, 30 * S))),
        ("noisy neighbour", {8}, lambda r: after(r, cpu_time=CpuTime(30 * S, 3 * S, 30 * S))),
        ("unstable", {1, 6}, lambda r: replace_decode(r, wall_ns=SPREAD)),
        ("unstable", {1}, lambda r: replace_decode(r, wall_ns=(100, 100, 100, 110, 110))),
        (
            "unstable",
            {6},
            lambda r: dataclasses.replace(
                r, workload=dataclasses.replace(r.workload, repetitions=3)
            ),
        ),
    ],
)
def test_each_fault_has_its_word_and_fails_its_rows_and_no_other(board, word, rows, spoil):
    spoilt = spoil(board)
    assert verdict(spoilt).word == word
    assert verdict(spoilt).reasons
    assert set(found(spoilt, "fail")) == rows


@pytest.mark.parametrize(
    "harmless",
    [
        lambda r: after(before(r, throttle={FIRMWARE: 0x50000}), throttle={FIRMWARE: 0x50000}),
        lambda r: after(
            before(r, throttle={"core throttle events": 2}), throttle={"core throttle events": 2}
        ),
        lambda r: counting(r, 1_790_000_000),
        lambda r: threads(counting(r, 1_000_000_000), 2),
        lambda r: on(counting(r, 1_000_000_000), virtual=True),
        lambda r: on(counting(r, 1_000_000_000), emulation="QEMU"),
        lambda r: counting(r, 1_000_000_000, emulated=True),
        lambda r: counting(r, 1_700_000_000, exclude_kernel=True),
        lambda r: on(
            dataclasses.replace(r, timeline=timeline(sample(), sample(S, 1_000_000_000))),
            policies=(dataclasses.replace(HELD, governor="ondemand"),),
        ),
        lambda r: after(r, swap_used_bytes=None),
        lambda r: memory(
            dataclasses.replace(r, workload=dataclasses.replace(r.workload, warmup=0)),
            major_faults=6,
        ),
    ],
)
def test_what_is_no_fault_stays_valid(board, harmless):
    assert verdict(harmless(board)).word == "valid"


def test_a_clock_as_claimed_passes(board):
    assert checks(counting(board, 1_800_000_000))[8].status == "pass"


@pytest.mark.parametrize(
    ("row", "spoil"),
    [
        (7, lambda r: dataclasses.replace(r, depths=())),
        (11, lambda r: on(r, affinity=(0,))),
        (
            11,
            lambda r: on(
                r,
                policies=(
                    dataclasses.replace(HELD, cpus=(0, 1)),
                    FrequencyPolicy("policy2", (2, 3), "performance", GHZ, GHZ),
                ),
            ),
        ),
        (12, lambda r: on(r, virtual=True)),
        (13, lambda r: on(r, policies=(dataclasses.replace(HELD, governor="ondemand"),))),
        (14, lambda r: on(r, emulation="QEMU")),
        (14, lambda r: counting(r, 1_800_000_000, emulated=True)),
        (15, lambda r: staged(r, 11)),
        (16, lambda r: dataclasses.replace(r, output_sha256=("a", "b"))),
        (17, lambda r: before(r, temperature_celsius={"0 cpu": 60.0})),
        (18, lambda r: memory(r, clean_peak=False)),
        (19, lambda r: on(r, memory_bytes=None)),
        (20, lambda r: dataclasses.replace(r, roofs=())),
    ],
)
def test_each_warning_is_found_in_its_row_and_no_other(board, row, spoil):
    assert set(found(spoil(board), "warn", "fail")) - set(KNOWN_OF_BOARD) == {row}


def test_a_multiplexed_counter_is_an_estimate(board):
    shared = replace_decode(board, counters={"reference_cycles": (CounterSample(10, 100, 50),) * 5})
    assert "only 50 % of the time" in checks(shared)[13].sentence


def test_stages_that_add_up_pass(board):
    assert checks(staged(board, 10))[14].status == "pass"


def test_a_bundle_that_was_held_against_a_reference_passes(board):
    bundle = dataclasses.replace(board.bundle, quality={"top1_agreement": 0.95})
    assert checks(dataclasses.replace(board, bundle=bundle))[2].status == "pass"


def test_what_an_old_report_does_not_hold_is_unknown(make_report):
    assert set(found(make_report(), "unknown")) == {5, 7, 8, 9, 10, 11, 12, 13, 15, 19, 20}


def test_the_gravest_word_wins(board):
    report = replace_decode(board, wall_ns=SPREAD)
    words = [verdict(report).word]
    for spoil in (
        lambda r: before(after(r, cpu_time=None), load_average=2.1),
        lambda r: memory(r, major_faults=6),
        lambda r: after(r, throttle={ALARM: 1}),
    ):
        report = spoil(report)
        words.append(verdict(report).word)
    assert words == ["unstable", "noisy neighbour", "swapping", "throttled"]


TEXT = """\
verdict: throttled (the firmware reported: under-voltage, throttled)
checklist: 13 pass, 2 warn, 1 fail, 1 unknown, 3 not applicable
 2 warn: tail percentiles: p95 needs 20 gaps, got 10; p99 needs 100 gaps, got 10: \
use more --output-tokens or --repetitions
 3 warn: accuracy beside speed: not evaluated before bundling, so speed may have cost quality: \
edgellm evaluate DIR --against REF
 9 unknown: measured clock: needs hardware cycles and one thread, not 4, and one cpufreq policy: \
use --threads 1
10 fail: log of the machine: the firmware reported: under-voltage, throttled: \
cool the machine or mend its supply"""


def test_the_text(board):
    spoilt = after(board, throttle={FIRMWARE: 0x50001})
    assert "\n".join(render_checks(spoilt)) == TEXT


def test_every_row_is_shown_when_asked_for(board):
    assert len(render_checks(board, every=True)) == 2 + 20
