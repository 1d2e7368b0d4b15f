import dataclasses

import pytest

from edgellm.records.machine import Roof
from edgellm.records.samples import CounterInfo, CounterSample, StageSamples
from edgellm.records.views import StagedPhase, StagedView, StageWork, Views
from edgellm.runner import clock_text, stage_text

MS = 1_000_000
OWN_MS = {"embedding": 1, "layers.0.attention": 3, "layers.1.attention": 3, "head": 3}
WORK = (
    StageWork("embedding", row_bytes=100),
    StageWork("layers.0.attention", 12_000_000, 0, 6_000_000),
    StageWork("layers.1.attention", 12_000_000, 0, 6_000_000),
    StageWork("head", weight_bytes=24_000_000, macs=12_000_000),
)
ROOF = Roof(4, 10e9, {"float32": 50e9, "int8": 100e9}, 1 << 28)


def samples(name, ms, counters=("reference_cycles",)):
    counts = {"reference_cycles": 2, "cycles": 2, "instructions": 3}
    return StageSamples(
        name,
        1,
        (ms * MS,) * 3,
        counters={
            counter: (CounterSample(counts[counter] * ms * MS, ms, ms),) * 3 for counter in counters
        },
    )


@pytest.fixture
def staged(make_report):
    """A report whose decode step is cut into four stages, each with 1 ms for the cut."""

    def make(whole_ms=10, counters=("reference_cycles",)):
        stages = tuple(samples(name, ms + 1, counters) for name, ms in OWN_MS.items())
        cuts = tuple(samples(f"{name} cut", 1, counters) for name in OWN_MS)
        phase = StagedPhase("decode", 64, 1, 1, stages, cuts, (whole_ms * MS,) * 3)
        return make_report(views=Views(StagedView((phase,), 0.0)), work=WORK, roofs=(ROOF,))

    return make


TABLE = """\
decode step after 64 tokens, by stage
part             stage            ms   share  M reference cycles    MiB  GB/s  of roof  ops/byte
input encoding   embedding     1.000   9.8 %               2.000   0.00  0.00      0 %         -
layers           attention x2  6.000  59.0 %              12.000  22.89  4.00     40 %       1.0
output decoding  head          3.000  29.5 %               6.000  22.89  8.00     80 %       1.0
                 sample        0.100   1.0 %               0.200      -     -        -         -
                 detokenize    0.067   0.7 %               0.133      -     -        -         -
stages sum to 14.000 ms against 10.000 ms uncut: +40.0 %, and +0.0 % without the cuts' own cost, \
which is taken out of the rows"""


def test_the_whole_table(staged):
    (lines,) = stage_text.tables(staged())
    assert "\n".join(lines) == TABLE


def test_each_layer_has_a_row_where_asked(staged):
    (lines,) = stage_text.tables(staged(), layers=True)
    text = "\n".join(lines)
    assert "layers.0.attention  3.000" in text
    assert "layers.1.attention  3.000" in text


def test_stages_that_miss_the_whole_say_so(staged):
    (lines,) = stage_text.tables(staged(whole_ms=8))
    assert lines[-1].startswith("NOT REPRESENTATIVE: cutting the graph lost more than 5 %")


def with_hardware(report, *, emulated=False):
    infos = tuple(
        CounterInfo(name, "a test", emulated=emulated) for name in ("cycles", "instructions")
    )
    return dataclasses.replace(report, counters=infos)


def test_a_core_that_counts_shows_its_ipc(staged):
    (lines,) = stage_text.tables(with_hardware(staged(counters=("cycles", "instructions"))))
    assert "M cycles  M instructions   IPC" in lines[1]
    assert "1.50" in lines[3].split()


def test_an_emulator_has_no_ipc(staged):
    report = with_hardware(staged(counters=("cycles", "instructions")), emulated=True)
    (lines,) = stage_text.tables(report)
    assert "IPC" not in lines[1]


CLOCK = """\
tiny as a clocked machine: Test Board 4, 4 threads, 64 prompt tokens, 3 output tokens, \
5 repetitions after 1 warm-up; verdict: VALID
reference cycles: TSC, rate from a test

the tick (one token)    20 M reference cycles, 10 ms
ticks per second        99.01
cycles per instruction  not measured: needs hardware cycles and instructions, counted together
joules per tick         not measured: this machine has no sensor of power or energy that could be \
read
before the first tick   101.1 ms, as long as 10 ticks

where a tick goes (after 64 tokens)
  embedding   10.0 %  ###
  attention   60.0 %  ##################
  head        30.0 %  #########"""


def test_the_clock_view(staged):
    assert clock_text.render(staged()) == CLOCK


def test_the_clock_view_says_what_a_change_bought(staged, make_report):
    before = make_report([200] * 5)
    text = clock_text.render(staged(), before)
    assert text.endswith(
        "against tiny abababababab\n"
        "  reference cycles of a tick: 40 M -> 20 M, -50.0 %\n"
        "  reference cycles of the prompt: 400 M -> 200 M, -50.0 %"
    )
