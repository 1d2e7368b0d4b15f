"""One thread throughout: a pool that sessions share cannot be undone in a process."""

import contextlib
import itertools

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import UsageError
from edgellm.measure.clock import NO_COUNTERS
from edgellm.measure.counters import OpenCounters
from edgellm.records.manifest import WEIGHTS_FILE
from edgellm.records.progress import silent
from edgellm.runner import staged
from edgellm.runner.harness import Machine
from edgellm.runner.load import open_bundle
from edgellm.runner.plan import Plan
from edgellm.runner.staged import DECODE_STEPS, measure_stages

TICK_NS = 1000  # passes at each reading of the clock
PLAN = Plan(prompt_tokens=6, output_tokens=10, repetitions=3, warmup=2, threads=1)


@pytest.fixture(scope="module")
def bundle(tiny_stage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    build_bundle(tiny_stage, folder)
    return open_bundle(folder)


@contextlib.contextmanager
def no_counters():
    yield OpenCounters(NO_COUNTERS)


def measured(bundle, root, plan=PLAN, progress=silent):
    clock = itertools.count(0, TICK_NS).__next__
    return measure_stages(bundle, plan, Machine(clock, no_counters, root), progress)


def test_every_stage_of_the_bundle_is_measured_in_every_repetition(bundle, tmp_path):
    view = measured(bundle, tmp_path)

    names = [work.stage for work in bundle.manifest.work]
    prefill, decode = view.phases
    assert (prefill.phase, prefill.context_tokens, prefill.calls) == ("prefill", 0, 1)
    assert (decode.phase, decode.context_tokens, decode.calls) == ("decode", 6, DECODE_STEPS)
    for phase, calls, tokens in ((prefill, 1, 6), (decode, DECODE_STEPS, DECODE_STEPS)):
        assert [stage.stage for stage in phase.stages] == names
        for stage in phase.stages:
            assert stage.tokens == tokens
            assert stage.wall_ns == (calls * TICK_NS,) * 3
            assert stage.warmup_wall_ns == (calls * TICK_NS,) * 2
        assert [cut.stage for cut in phase.cuts] == [f"{name} cut" for name in names]
        assert all(cut.wall_ns == (calls * TICK_NS,) * 3 for cut in phase.cuts)
        assert phase.whole_ns == (TICK_NS,) * 3


def test_the_cut_graph_gives_the_logits_of_the_whole(bundle, tmp_path):
    assert measured(bundle, tmp_path).max_abs_difference == 0.0


def test_a_cut_that_computes_something_else_is_seen(bundle, tmp_path, monkeypatch):
    run = staged.CutModel.run
    monkeypatch.setattr(
        staged.CutModel, "run", lambda self, ids, *rest, **idle: run(self, ids, *rest, **idle) + 0.5
    )

    assert measured(bundle, tmp_path).max_abs_difference == pytest.approx(0.5)


def test_a_long_prompt_goes_through_in_chunks(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(staged, "PREFILL_CHUNK_TOKENS", 16)
    plan = Plan(prompt_tokens=40, output_tokens=10, repetitions=1, warmup=0, threads=1)

    view = measured(bundle, tmp_path, plan)

    prefill = view.phases[0]
    assert (prefill.calls, prefill.chunk_tokens) == (3, 16)
    assert {stage.tokens for stage in prefill.stages} == {40}
    assert view.max_abs_difference == 0.0


def test_decode_is_measured_at_each_depth_also_in_an_empty_cache(bundle, tmp_path):
    plan = Plan(
        prompt_tokens=6, output_tokens=10, repetitions=1, warmup=0, threads=1, depths=(0, 20, 6)
    )
    told = []

    view = measured(bundle, tmp_path, plan, lambda what, done, total: told.append((done, total)))

    assert [(p.phase, p.context_tokens) for p in view.phases[1:]] == [
        ("decode", 0),
        ("decode", 6),
        ("decode", 20),
    ]
    assert view.max_abs_difference == 0.0
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_the_cut_graph_is_measured_alone_where_memory_is_short(bundle, tmp_path):
    (tmp_path / "proc").mkdir()
    enough = int(staged.ROOM * bundle.files[WEIGHTS_FILE].size) // 1024
    views = []
    for free_kb in (enough - 4, enough + 4):
        (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {free_kb} kB\n")
        views.append(measured(bundle, tmp_path))

    alone, both = views
    assert alone.max_abs_difference is None
    assert [phase.whole_ns for phase in alone.phases] == [(), ()]
    assert alone.phases[0].stages == both.phases[0].stages
    assert both.max_abs_difference == 0.0


def test_a_depth_beyond_the_model_is_refused(bundle, tmp_path):
    plan = Plan(prompt_tokens=6, output_tokens=10, depths=(500,), threads=1)

    with pytest.raises(UsageError, match="context 510 is not possible: tiny takes 1 to 128"):
        measured(bundle, tmp_path, plan)
