import dataclasses

import pytest

from edgellm.records.golden import Limits
from edgellm.records.parity import Parity, PromptParity
from edgellm.records.report import BundleFacts
from edgellm.records.units import METRICS
from edgellm.report.compare import Change, Named, compare
from edgellm.report.render import as_markdown, as_text, change_words
from edgellm.runner.stats import Interval

TEXT = """\
Test Board 4, 4 threads, 64 prompt tokens, 3 output tokens, 5 repetitions after 1 warm-up; \
median ± MAD

                                         fp32                int8
model                                    tiny                tiny
bundle                                   aaaaaaaaaaaa        bbbbbbbbbbbb
verdict                                  valid               valid
bundle size                              400.0 MiB           100.0 MiB
peak memory                              150.0 MiB           150.0 MiB
TTFT                                     101.1 ± 1.0 ms      51.35 ± 0.25 ms
TPOT                                     10.10 ± 0.10 ms     5.125 ± 0.025 ms
prefill                                  640.0 ± 6.3 tok/s   1274 ± 6 tok/s
decode                                   99.01 ± 0.97 tok/s  195.1 ± 1.0 tok/s
ITL p50                                  10.10 ms            5.125 ms
ITL p95                                  not measured (1)    not measured (1)
ITL p99                                  not measured (2)    not measured (2)
load, per bundle                         250.0 ms            250.0 ms
tokenize, per prompt                     1.000 ± 0.000 ms    1.000 ± 0.000 ms
prefill, per prompt                      100.0 ± 1.0 ms      50.25 ± 0.25 ms
decode step, per token                   10.00 ± 0.10 ms     5.025 ± 0.025 ms
sample, per token                        0.1000 ± 0.0000 ms  0.1000 ± 0.0000 ms
detokenize, per output                   0.2000 ± 0.0000 ms  0.2000 ± 0.0000 ms
load, reference cycles per bundle        500.0 M             500.0 M
tokenize, reference cycles per prompt    2.000 ± 0.000 M     2.000 ± 0.000 M
prefill, reference cycles per prompt     200.0 ± 2.0 M       100.5 ± 0.5 M
decode step, reference cycles per token  20.00 ± 0.20 M      10.05 ± 0.05 M
sample, reference cycles per token       0.2000 ± 0.0000 M   0.2000 ± 0.0000 M
detokenize, reference cycles per output  0.4000 ± 0.0000 M   0.4000 ± 0.0000 M
perplexity                               not measured (3)    12.50
KL divergence                            not measured (3)    0.01000 nats
same top-1                               not measured (3)    95.00 %

Against fp32, with the 95 % interval of the ratio \
(from repetitions; drift of the machine between runs is not in it):

                        int8
bundle size             4.00x smaller
peak memory             equal, too few samples
TTFT                    1.97x faster (1.94 to 2.02)
TPOT                    1.97x faster (1.94 to 2.02)
prefill                 1.99x faster (1.96 to 2.04)
decode                  1.97x faster (1.94 to 2.02)
ITL p50                 1.97x faster, too few samples
load, per bundle        equal, too few samples
tokenize, per prompt    no difference shown
prefill, per prompt     1.99x faster (1.96 to 2.04)
decode step, per token  1.99x faster (1.96 to 2.04)
sample, per token       no difference shown
detokenize, per output  no difference shown

(1) p95 needs 20 gaps, got 10
(2) p99 needs 100 gaps, got 10
(3) not evaluated before bundling

fp32, int8: p95 needs 20 gaps, got 10; p99 needs 100 gaps, got 10: use more --output-tokens or \
--repetitions
fp32: not evaluated before bundling, so speed may have cost quality: edgellm evaluate DIR \
--against REF
fp32, int8: cycles, instructions not measured: no counter in a test (ENOENT)"""


@pytest.fixture
def comparison(make_report):
    reference = make_report(bundle=BundleFacts("tiny", "aa" * 32, 400 << 20))
    quality = {"perplexity": 12.5, "kl_divergence": 0.01, "top1_agreement": 0.95}
    half = make_report(
        [50, 50.5, 49.5, 50.25, 51], bundle=BundleFacts("tiny", "bb" * 32, 100 << 20, quality)
    )
    return compare([Named("fp32", reference), Named("int8", half)])


def test_the_whole_text(comparison):
    assert as_text(comparison) == TEXT


@pytest.mark.parametrize(
    ("metric", "change", "words"),
    [
        ("ttft_ns", Change("worse", 1.38, Interval(1.351, 1.409)), "1.38x slower (1.35 to 1.41)"),
        ("ttft_ns", Change("better", 0.5, Interval(0.4, 0.625)), "2.00x faster (1.60 to 2.50)"),
        (
            "decode_tokens_per_s",
            Change("better", 2.0, Interval(1.9, 2.1)),
            "2.00x faster (1.90 to 2.10)",
        ),
        ("bundle_bytes", Change("better", 0.25), "4.00x smaller"),
        ("perplexity", Change("worse", 1.5), "1.50x worse"),
        (
            "ttft_ns",
            Change("no difference shown", 1.01, Interval(0.98, 1.03)),
            "unclear: 1.01x slower (0.98 to 1.03)",
        ),
        ("bundle_bytes", Change("no difference shown", 1.0), "no difference shown"),
        (
            "load_ns",
            Change("too few samples", 2.0),
            "2.00x slower, too few samples",
        ),
        ("kl_divergence", Change("not comparable", why="none"), "not comparable: none"),
    ],
)
def test_a_change_is_said_in_words(metric, change, words):
    assert change_words(METRICS[metric], change) == words


def test_markdown_holds_the_same_cells(comparison):
    lines = as_markdown(comparison).splitlines()
    assert "|  | fp32 | int8 |" in lines
    assert "| --- | ---: | ---: |" in lines
    assert "| bundle size | 400.0 MiB | 100.0 MiB |" in lines
    assert "| bundle size | 4.00x smaller |" in lines


def test_a_bar_in_a_name_does_not_break_the_table(make_report):
    text = as_markdown(compare([Named("a|b", make_report()), Named("c", make_report())]))
    assert r"| a\|b | c |" in text


def test_reports_that_took_turns_say_so(make_report):
    turns = make_report([100.0] * 6, interleaved="turns")
    text = as_text(compare([Named("a", turns), Named("b", turns)]))
    assert "(interleaved: the repetitions took turns, so the interval is of their ratios):" in text


def test_two_machines_are_read_with_what_differs_above_and_what_explains_below(make_report):
    slow = make_report([200, 202, 198, 200, 204])
    facts = dataclasses.replace(slow.environment, board="Other Board", features=("asimddp",))
    slow = dataclasses.replace(slow, environment=facts)

    text = as_text(compare([Named("host", make_report()), Named("board", slow)]))

    head, rest = text.split("\n\n", 1)
    assert head.startswith("Test Board 4, Other Board, 4 threads")
    assert rest.startswith(
        "the machines differ: board is Test Board 4 in host and Other Board in board\n"
    )
    assert (
        "decode step of board against host: 2.00x the time\n"
        "  2.00x not explained\n"
        "  beside: arithmetic: aarch64+dotprod against aarch64\n"
    ) in text


def test_parity_is_said_of_each_report_that_has_it(make_report):
    prompt = PromptParity(16, 15, 3, (0.004,) * 16)
    parity = Parity("aarch64", "x86_64", (prompt,), Limits(0.01, 0.1, 1.0))
    board = make_report(parity=parity)

    text = as_text(compare([Named("host", make_report()), Named("board", board)]))

    assert "board: parity with x86_64: met on aarch64, 15 of 16 tokens equal\n" in text
    assert "board: KL divergence of the logits: mean 0.004, largest 0.004 nats" in text
