import pytest

from edgellm.records.breakdown import breakdown
from edgellm.records.samples import CYCLES, INSTRUCTIONS, CounterSample, StageSamples
from edgellm.records.stages import kind_of
from edgellm.records.views import StagedPhase, StageWork

CUT_NS = 10  # what each cut costs
NAMES = ("embedding", "layers.0.attention", "layers.1.attention", "head")
OWN_NS = {
    "embedding": 20,
    "layers.0.attention": 100,
    "layers.1.attention": 120,
    "head": 60,
}  # without the cut
WHOLE_NS = sum(OWN_NS.values())
WORK = (
    StageWork("embedding", row_bytes=8),
    StageWork("layers.0.attention", 400, 0, 100, 10, 3),
    StageWork("layers.1.attention", 400, 0, 100, 10, 3),
    StageWork("head", weight_bytes=1000, macs=250),
)


def samples(name, ns, tokens, repetitions, running=1.0):
    counted = {CYCLES: 2 * ns, INSTRUCTIONS: 3 * ns}
    return StageSamples(
        name,
        tokens,
        (ns,) * repetitions,
        counters={
            counter: (CounterSample(value, ns, round(ns * running)),) * repetitions
            for counter, value in counted.items()
        },
    )


def phase_of(own=OWN_NS, *, decode=True, calls=4, whole=WHOLE_NS, running=1.0):
    """Return a phase of 3 repetitions where each call takes as long as its stages and cuts say."""
    tokens = calls if decode else 100 * calls
    stages = tuple(samples(n, calls * (ns + CUT_NS), tokens, 3, running) for n, ns in own.items())
    cuts = tuple(samples(f"{name} cut", calls * CUT_NS, tokens, 3) for name in own)
    return StagedPhase(
        "decode" if decode else "prefill",
        7 if decode else 0,
        calls,
        1 if decode else 100,
        stages,
        cuts,
        (calls * whole,) * 3 if whole else (),
    )


@pytest.fixture
def look(make_report):
    report = make_report(work=WORK)
    return lambda phase, *group: breakdown(report, phase, *group)


def times(found):
    return {row.name: row.ns for row in found.rows}


def test_rows_are_the_stages_without_the_cuts_in_the_order_of_the_graph(look):
    found = look(phase_of())

    assert times(found) == OWN_NS
    assert tuple(row.name for row in found.rows) == NAMES


def test_the_sums_are_of_one_decode_step(look):
    found = look(phase_of())

    assert found.sum_ns == WHOLE_NS + 4 * CUT_NS
    assert found.cut_ns == 4 * CUT_NS
    assert found.whole_ns == WHOLE_NS
    assert found.excess == 0


def test_a_prefill_is_one_call_whatever_its_chunks(look):
    found = look(phase_of(decode=False))

    assert times(found) == {name: 4 * ns for name, ns in OWN_NS.items()}
    assert found.whole_ns == 4 * WHOLE_NS


def test_counts_are_of_one_call_and_without_the_cuts_too(look):
    head = look(phase_of()).rows[-1]

    assert head.counts == {CYCLES: 2 * OWN_NS["head"], INSTRUCTIONS: 3 * OWN_NS["head"]}
    assert head.ipc == 1.5


def test_a_count_that_was_shared_out_is_estimated(look):
    stages = look(phase_of(running=0.5)).rows

    own, cut = OWN_NS["head"], CUT_NS
    assert stages[-1].counts[CYCLES] == pytest.approx(2 * (2 * (own + cut)) - 2 * cut)


def test_a_counter_that_never_ran_is_no_count(look):
    assert [row.counts for row in look(phase_of(running=0)).rows] == [{}] * 4


def test_a_stage_that_takes_twice_as_long_shows_twice_the_time(look):
    slower = OWN_NS | {"head": 2 * OWN_NS["head"]}

    assert times(look(phase_of(slower))) == slower


def test_layers_are_summed_by_kind(look):
    found = look(phase_of(), kind_of)

    assert [(row.name, row.count) for row in found.rows] == [
        ("embedding", 1),
        ("attention", 2),
        ("head", 1),
    ]
    attention = found.rows[1]
    assert attention.ns == 220
    assert attention.counts[CYCLES] == 2 * 220
    one = look(phase_of()).rows[1]
    assert (attention.bytes, attention.operations) == (2 * one.bytes, 2 * one.operations)


def test_the_middle_step_of_a_row_says_what_a_step_moves_and_computes(look):
    embedding, attention, _, head = look(phase_of(calls=4)).rows

    context = 7 + 2
    assert embedding.bytes == 8
    assert (attention.bytes, attention.operations) == (
        400 + 10 * (1 + context + 1),
        2 * (100 + 3 * (context + 1)),
    )
    assert (head.bytes, head.operations) == (1000, 500)
    assert head.bytes_per_s == pytest.approx(1000e9 / 60)
    assert head.intensity == 0.5


def test_a_prefill_reads_weights_for_each_chunk(look):
    head = look(phase_of(decode=False, calls=3)).rows[-1]

    assert (head.bytes, head.operations) == (3 * 1000, 2 * 300 * 250)


def test_a_bundle_that_does_not_say_what_it_moves_has_no_bytes(make_report):
    row = breakdown(make_report(), phase_of(), kind_of).rows[1]

    assert (row.bytes, row.operations, row.bytes_per_s, row.intensity) == (None,) * 4


@pytest.mark.parametrize(
    ("whole", "representative"), [(300, True), (286, True), (285, False), (315, True), (320, False)]
)
def test_stages_that_are_off_the_whole_by_a_twentieth_do_not_represent_it(
    look, whole, representative
):
    found = look(phase_of(whole=whole))

    assert found.excess == pytest.approx(300 / whole - 1)
    assert found.representative is representative


def test_without_the_whole_nothing_is_held_against_it(look):
    found = look(phase_of(whole=None))

    assert (found.whole_ns, found.excess) == (None, None)
    assert found.representative
