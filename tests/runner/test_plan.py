import os

import pytest

from edgellm.errors import UsageError
from edgellm.runner import plan as plans
from edgellm.runner.plan import Plan, until_precise

SECOND_NS = 1_000_000_000
STEADY, WILD = 1000, (1000, 3000)


class FakeClock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def repetitions(plan, times, each_ns=0):
    """Return how many repetitions are run, warm-ups included, where they take ``times`` in turn."""
    clock = FakeClock()
    more, done = until_precise(plan, clock), []
    while more(done):
        done.append(times[len(done) % len(times)])
        clock.now += each_ns
    return len(done)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"depths": (512, -1)}, "depth must be at least 0, not -1"),
        ({"depths": (512,), "context": 543}, "context must be at least 544, not 543"),
        ({"precision": 0.0}, r"precision must be between 0 and 100 %, not 0\.00%"),
        ({"precision": 1.0}, r"precision must be between 0 and 100 %, not 100\.00%"),
        ({"time_limit_s": 0.0}, "time limit must be more than 0 seconds, not 0"),
        ({"time_limit_s": float("inf")}, "time limit must be more than 0 seconds, not inf"),
        ({"time_limit_s": float("nan")}, "time limit must be more than 0 seconds, not nan"),
    ],
)
def test_a_plan_without_sense_is_refused(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        Plan(**values)


def test_the_context_holds_the_workload_at_every_depth():
    assert Plan(prompt_tokens=64, output_tokens=8).used_context == 72
    assert Plan(prompt_tokens=64, output_tokens=8, depths=(0, 512)).used_context == 520
    assert Plan(context=4096).used_context == 4096


def test_threads_are_the_cores_that_this_process_may_use():
    assert Plan().used_threads == len(os.sched_getaffinity(0))
    assert Plan(threads=3).used_threads == 3


def test_a_steady_machine_needs_the_least():
    assert repetitions(Plan(warmup=1), (STEADY,)) == 1 + 5


def test_warmups_do_not_count_for_precision():
    assert repetitions(Plan(warmup=5), (9 * STEADY, *[STEADY] * 100)) == 5 + 5


def test_a_wild_machine_is_measured_until_the_time_limit():
    plan = Plan(warmup=0, time_limit_s=9.5)

    assert repetitions(plan, WILD, each_ns=SECOND_NS) == 10


def test_the_least_is_measured_whatever_the_time_limit():
    plan = Plan(warmup=2, time_limit_s=0.001)

    assert repetitions(plan, WILD, each_ns=SECOND_NS) == 2 + 5


def test_a_wild_machine_with_time_ends_at_the_most(monkeypatch):
    monkeypatch.setattr(plans, "MOST_REPETITIONS", 12)

    assert repetitions(Plan(warmup=1), WILD) == 1 + 12


def test_a_coarser_precision_ends_sooner():
    times = (1000, 1010, 990, 1020, 980)
    fine, coarse = (repetitions(Plan(warmup=0, precision=p), times) for p in (0.01, 0.05))

    assert coarse == 5
    assert coarse < fine < plans.MOST_REPETITIONS


@pytest.mark.parametrize("times", [(STEADY,), WILD])
@pytest.mark.parametrize("asked", [1, 3, 20])
def test_repetitions_that_were_asked_for_are_exactly_those(asked, times):
    plan = Plan(warmup=2, repetitions=asked, time_limit_s=1.0)

    assert repetitions(plan, times, each_ns=SECOND_NS) == 2 + asked
