import pytest

from edgellm.records.units import METRICS


@pytest.mark.parametrize(
    ("metric", "value", "spread", "text"),
    [
        ("ttft_ns", 22_512_345, 204_000, "22.51 ± 0.20 ms"),
        ("sample_ns", 31_250, None, "0.03125 ms"),
        ("load_ns", 12_345_678_900, None, "12346 ms"),
        ("bundle_bytes", 100 << 20, None, "100.0 MiB"),
        ("decode_tokens_per_s", 176.234, 0.5, "176.2 ± 0.5 tok/s"),
        ("decode_cycles", 14_700_000, None, "14.70 M"),
        ("top1_agreement", 0.9345, None, "93.45 %"),
        ("perplexity", 12.9712, None, "12.97"),
    ],
)
def test_value_and_spread_stand_in_one_unit(metric, value, spread, text):
    assert METRICS[metric].show(value, spread) == text


def test_the_suffix_of_a_name_is_its_unit():
    units = {"_ns": "ms", "_bytes": "MiB", "_tokens_per_s": "tok/s", "cycles": "M"}
    for suffix, unit in units.items():
        found = {m.unit.text for name, m in METRICS.items() if name.endswith(suffix)}
        assert found == {unit}
