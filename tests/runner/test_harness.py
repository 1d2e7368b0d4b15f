import contextlib
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from edgellm.errors import UsageError
from edgellm.measure.counters import OpenCounters
from edgellm.records.manifest import BundleManifest, KVLayout, ModelFacts
from edgellm.records.samples import CounterInfo, CounterSample, Unavailable
from edgellm.runner import checklist
from edgellm.runner.bench_prompt import TEXT
from edgellm.runner.harness import Machine, measure_bundle
from edgellm.runner.plan import Plan

VOCAB = 8
COST_NS = {"load": 5000, "prefill": 700, "decode": 30}
PLAN = Plan(prompt_tokens=6, output_tokens=4, repetitions=3, warmup=2, threads=1)


class FakeClock:
    """Time that passes only where a fake says so."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class FakeCounters:
    """Two cycles per nanosecond, counted during a part of the time."""

    infos = (CounterInfo("cycles", "a test"),)

    def __init__(self, running=1.0):
        self._running = running

    def read(self, now_ns):
        return (CounterSample(2 * now_ns, now_ns, round(now_ns * self._running)),)


class FakeModel:
    def __init__(self, clock, cost):
        self._clock = clock
        self._cost = cost
        self.length = 0

    def reset(self, length=0):
        self.length = length

    def prefill(self, ids):
        assert self.length == 0, "the cache was not emptied"
        return self._run(len(ids), self._cost["prefill"])

    def step(self, token):
        return self._run(1, self._cost["decode"])

    def _run(self, tokens, cost_ns):
        self.length += tokens
        self._clock.now += cost_ns
        return np.eye(VOCAB, dtype=np.float32)[self.length % VOCAB]


class FakeBundle:
    kernels = None

    def __init__(self, clock, cost):
        self._clock, self._cost = clock, cost
        words = sorted({word for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(TEXT)})
        vocab = {word: i for i, word in enumerate([*words, "[UNK]"])}
        self.tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        kv = KVLayout(layers=2, kv_heads=1, head_dim=4, dtype="float32", max_context=64)
        facts = ModelFacts("tiny", "llama", "text-generation", VOCAB, 8, kv, "fused", None, ())
        self.manifest = BundleManifest(facts, (), (), {}, quality={"perplexity": 12.5})

    def session(self, *, threads, context):
        self._clock.now += self._cost["load"]
        return FakeModel(self._clock, self._cost)


def measured(tmp_path, plan=PLAN, cost=COST_NS, counters=None, **options):
    clock = FakeClock()

    @contextlib.contextmanager
    def open_counters():
        yield OpenCounters(counters or FakeCounters(), (Unavailable("instructions", "a test"),))

    return measure_bundle(
        Path("tiny.edgellm"),
        plan,
        machine=Machine(clock, open_counters, tmp_path),
        open_bundle=lambda path: FakeBundle(clock, cost),
        **options,
    )


def test_every_repetition_is_kept_raw_and_warmups_apart(tmp_path):
    report = measured(tmp_path)
    prefill = report.stage("prefill")
    assert prefill.wall_ns == (700, 700, 700)
    assert prefill.warmup_wall_ns == (700, 700)
    assert report.stage("load").wall_ns == (5000,)
    assert report.stage("decode").step_ns == ((30, 30, 30),) * 3
    assert [stage.tokens for stage in report.stages] == [0, 6, 6, 3, 4, 4]


def test_a_stage_that_costs_twice_as_much_shows_twice_the_time_and_cycles(tmp_path):
    once = measured(tmp_path)
    twice = measured(tmp_path, cost=COST_NS | {"decode": 60})
    for stage, factor in {"prefill": 1, "decode": 2}.items():
        a, b = once.stage(stage), twice.stage(stage)
        assert b.wall_ns == tuple(factor * ns for ns in a.wall_ns)
        values = [tuple(s.value for s in report.counters["cycles"]) for report in (a, b)]
        assert values[1] == tuple(factor * value for value in values[0])


def test_a_counter_that_was_shared_out_is_kept_as_read_and_cautioned(tmp_path):
    report = measured(tmp_path, counters=FakeCounters(running=0.5))
    sample = report.stage("prefill").counters["cycles"][0]
    assert sample == CounterSample(1400, 700, 350)
    assert checklist.checks(report)[13].status == "warn"


def test_the_same_output_has_the_same_digest_in_every_repetition(tmp_path):
    report = measured(tmp_path)
    assert len(report.output_sha256) == 3
    assert len(set(report.output_sha256)) == 1


def test_the_report_says_what_ran_and_what_could_not_be_had(tmp_path):
    report = measured(tmp_path)
    assert report.workload.prompt_tokens == 6
    assert report.workload.context_tokens == 10
    assert report.workload.threads == 1
    assert report.memory.kv_cache_bytes == 2 * 2 * 1 * 10 * 4 * 4
    assert report.bundle.quality == {"perplexity": 12.5}
    assert Unavailable("instructions", "a test") in report.unavailable
    assert checklist.checks(report)[17].status == "warn"


def test_progress_counts_repetitions(tmp_path):
    told = []
    measured(tmp_path, progress=lambda what, done, total: told.append((done, total)))
    assert told == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"prompt_tokens": 0}, "prompt tokens must be at least 1, not 0"),
        ({"output_tokens": 1}, "output tokens must be at least 2, not 1"),
        ({"repetitions": 0}, "repetitions must be at least 1, not 0"),
        ({"warmup": -1}, "warm-up repetitions must be at least 0"),
        ({"threads": -2}, "threads must be at least 0"),
        ({"context": 95}, "context must be at least 96, not 95"),
    ],
)
def test_a_plan_that_measures_nothing_is_refused(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        Plan(**values)
