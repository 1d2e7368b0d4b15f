import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts/peers"


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import table

    yield table.render
    for name in ("table", "cases"):
        sys.modules.pop(name)


def sample(case, variant, number, decode_ms, rss_mib):
    run = {
        "prompt_tokens": 64,
        "prefill": {"wall_ns": 64_000_000, "cpu_ns": 64_000_000},
        "decode": {"wall_ns": decode_ms * 10**6, "cpu_ns": decode_ms * 10**6},
        "output": [1] * 11,
    }
    place = {"case": case, "variant": variant, "threads": 1, "round": number, "version": "x 1"}
    return {**place, "peak_rss_bytes": rss_mib << 20, "runs": [run]}


def record(*samples):
    names = {s["case"] for s in samples}
    return {
        "commit": "abc",
        "started_utc": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "c", "cores": 2, "memory_bytes": 1 << 30, "kernel": "6"},
        "settings": {
            "source": "m.gguf",
            "text": "t",
            "prompt_tokens": [64],
            "new_tokens": 11,
            "threads": [1],
            "context": 128,
            "window": 64,
        },
        "samples": list(samples),
        "file_bytes": dict.fromkeys(names, 10 << 20),
        "perplexity": {},
        "perplexity_tokens": 63,
    }


def test_a_row_has_the_median_and_its_deviation(render):
    times = enumerate((100, 50, 200))
    page = render(record(*(sample("edgellm int8", "default", i, ms, 9) for i, ms in times)))

    assert "| edgellm int8 | 1000 ± 0 | 100 ± 50 | 9 ± 0 | 10 | not measured |" in page


def test_a_ratio_takes_the_peers_better_setting_in_each_column(render):
    page = render(
        record(
            sample("edgellm int8", "default", 0, 50, 30),
            sample("llama.cpp Q8_0", "plain", 0, 100, 20),
            sample("llama.cpp Q8_0", "flash", 0, 25, 60),
        )
    )

    assert (
        "| edgellm int8 / llama.cpp Q8_0 | 1 | 1.00 | 0.50 | 1.50 | 1.00 | not measured |" in page
    )


def test_a_busy_machine_is_said(render):
    busy = sample("edgellm int8", "default", 0, 50, 30)
    busy["runs"][0]["decode"]["cpu_ns"] //= 2

    assert "at least 50 % of its time: it was BUSY" in render(record(busy))
