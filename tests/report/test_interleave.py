import os
import sys
from pathlib import Path

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import BundleInvalid, EdgellmError, UsageError
from edgellm.records import codec
from edgellm.report import interleave
from edgellm.report.interleave import run_interleaved

FAKE = """
import os, sys
bundle = sys.argv[1]
with open("order", "a") as order:
    print("pid", os.getpid(), file=order)
if bundle == "damaged":
    print("a warning\\nedgellm-run: damaged is damaged", file=sys.stderr)
    sys.exit(4)
print("strange" if bundle == "strange" else "ready", flush=True)
rounds = 0
for line in sys.stdin:
    rounds += 1
    if bundle == "dies" and rounds == 3:
        os.kill(os.getpid(), 9)
    with open("order", "a") as order:
        print(bundle, file=order)
    print("done", 1000 if bundle != "noisy" else 1000 * rounds, flush=True)
print(open("report.json").read(), end="")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch, make_report):
    monkeypatch.chdir(tmp_path)
    codec.write(tmp_path / "report.json", make_report())
    monkeypatch.setattr(interleave, "RUNNER", (sys.executable, "-c", FAKE))
    return tmp_path


def order(folder):
    lines = (folder / "order").read_text().splitlines()
    pids = [int(line.split()[1]) for line in lines if line.startswith("pid")]
    return pids, "".join(line for line in lines if not line.startswith("pid"))


def run(*names, **options):
    return run_interleaved([Path(name) for name in names], **options)


def test_the_order_turns_round_after_each_round_and_ends_when_precise(fake):
    assert len(run("a", "b")) == 2
    # The warm-up, then six rounds: the ratio of equal times is known at once.
    assert order(fake)[1] == "ab" + "abba" * 3


def test_noise_goes_on_to_the_time_limit_but_not_below_the_least_rounds(fake):
    run("a", "noisy", least=7, time_limit_s=1e-9)
    assert order(fake)[1].count("a") == 1 + 7


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("damaged", BundleInvalid, "^damaged is damaged$"),
        ("dies", EdgellmError, "the bench of dies was ended by SIGKILL"),
        ("strange", EdgellmError, "the bench of strange said 'strange' where 'ready' was due"),
    ],
)
def test_a_bench_that_fails_is_named_and_no_process_stays(fake, name, kind, sentence):
    with pytest.raises(kind, match=sentence):
        run("a", name)
    assert_all_ended(fake)


def test_an_interrupt_ends_every_bench(fake):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("a", "b", progress=interrupt)
    assert_all_ended(fake)


def assert_all_ended(folder):
    pids, _ = order(folder)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_bundle_takes_no_turns():
    with pytest.raises(UsageError, match="two bundles or more"):
        run("a")


def test_real_bundles_take_turns(tmp_path, tiny_stage):
    bundle = tmp_path / "tiny.edgellm"
    build_bundle(tiny_stage, bundle)
    few = ["--threads", "1", "--prompt-tokens", "9", "--output-tokens", "3"]
    a, b = run_interleaved([bundle, bundle], few, time_limit_s=0.1)
    assert a.interleaved == b.interleaved is not None
    assert a.workload.repetitions == b.workload.repetitions >= 6
    assert (a.workload.threads, a.workload.prompt_tokens) == (1, 9)
