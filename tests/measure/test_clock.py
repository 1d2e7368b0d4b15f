from edgellm.measure.clock import NO_COUNTERS, StageTimer
from edgellm.records.samples import CounterInfo, CounterSample


class FakeCounters:
    """Counts three cycles for each nanosecond."""

    infos = (CounterInfo("cycles", "a test"),)

    def read(self, now_ns):
        return (CounterSample(3 * now_ns, now_ns, now_ns),)


def test_a_stage_that_takes_twice_as_long_shows_twice_the_time_and_cycles():
    now = iter([1000, 1100, 1300])
    timer = StageTimer(lambda: next(now), FakeCounters())
    timer.start()
    timer.lap("once")
    timer.lap("twice")
    laps = timer.take()
    assert laps["once"].step_ns == [100]
    assert laps["twice"].step_ns == [200]
    assert laps["once"].counts == {"cycles": CounterSample(300, 100, 100)}
    assert laps["twice"].counts == {"cycles": CounterSample(600, 200, 200)}


def test_stages_leave_no_gap_so_their_sum_is_the_whole():
    now = iter([7, 9, 14, 30, 31])
    timer = StageTimer(lambda: next(now), NO_COUNTERS)
    timer.start()
    for stage in ("a", "b", "a", "b"):
        timer.lap(stage)
    assert sum(ns for laps in timer.take().values() for ns in laps.step_ns) == 31 - 7


def test_steps_of_a_stage_are_kept_and_their_counts_added():
    now = iter([0, 10, 15, 45])
    timer = StageTimer(lambda: next(now), FakeCounters())
    timer.start()
    for stage in ("decode", "sample", "decode"):
        timer.lap(stage)
    decode = timer.take()["decode"]
    assert decode.step_ns == [10, 30]
    assert decode.counts["cycles"] == CounterSample(120, 40, 40)


def test_starting_begins_anew():
    now = iter([0, 1, 10, 12])
    timer = StageTimer(lambda: next(now), NO_COUNTERS)
    timer.start()
    timer.lap("a")
    timer.start()
    timer.lap("b")
    assert {stage: laps.step_ns for stage, laps in timer.take().items()} == {"b": [2]}
