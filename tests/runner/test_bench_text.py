import dataclasses

from edgellm.records.samples import CounterInfo, CounterSample, StageSamples
from edgellm.runner import checklist
from edgellm.runner.bench_text import render

WHOLE = """\
tiny  abababababab  2026-01-02T03:04:05+00:00
Test Board 4, 4 threads, 64 prompt tokens, 3 output tokens, 5 repetitions after 1 warm-up; \
median ± MAD; verdict: VALID

TTFT                      101.1 ± 1.0 ms
TPOT                      10.10 ± 0.10 ms
prefill                   640.0 ± 6.3 tok/s
decode                    99.01 ± 0.97 tok/s
ITL p50                   10.10 ms
ITL p95                   not measured: p95 needs 20 gaps, got 10
ITL p99                   not measured: p99 needs 100 gaps, got 10
IPC of decode             not measured: needs hardware cycles and instructions, counted together
energy, per output token  not measured: this machine has no sensor of power or energy that \
could be read
peak memory               150.0 MiB
bundle size               100.0 MiB

stage        per     time                reference cycles
load         bundle  250.0 ms            500.0 M
tokenize     prompt  1.000 ± 0.000 ms    2.000 ± 0.000 M
prefill      prompt  100.0 ± 1.0 ms      200.0 ± 2.0 M
decode step  token   10.00 ± 0.10 ms     20.00 ± 0.20 M
sample       token   0.1000 ± 0.0000 ms  0.2000 ± 0.0000 M
detokenize   output  0.2000 ± 0.0000 ms  0.4000 ± 0.0000 M

reference cycles: TSC, rate from a test

cycles, instructions not measured: no counter in a test (ENOENT)"""


def test_the_whole_text(make_report):
    report = make_report()
    memory = dataclasses.replace(report.memory, clean_peak=False)
    report = dataclasses.replace(report, memory=memory)
    assert render(report) == WHOLE + "\n\n" + "\n".join(checklist.render_checks(report))


def test_an_estimated_count_is_marked(make_report):
    cycles = CounterInfo("cycles", "perf_event_open, user mode only", exclude_kernel=True)
    samples = (CounterSample(1_000_000, 100, 50),)
    stage = StageSamples("prefill", 64, (9_000_000,), counters={"cycles": samples})
    text = render(make_report([100], counters=(cycles,), stages=(stage,), unavailable=()))
    row = next(line for line in text.splitlines() if line.startswith("prefill  "))
    assert "~2.000 M" in text
    assert "cycles: perf_event_open, user mode only" in text
    assert row


def test_a_machine_without_any_counter_shows_why_not_zero(make_report):
    bare = make_report(counters=())
    stages = tuple(dataclasses.replace(stage, counters={}) for stage in bare.stages)
    lines = render(dataclasses.replace(bare, stages=stages)).splitlines()
    prefill = next(line for line in lines if line.startswith("prefill      prompt"))
    assert prefill.split("  ")[-1].strip() == "not measured"
