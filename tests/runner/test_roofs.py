import numpy as np
import pytest

from edgellm.measure import bandwidth
from edgellm.records.samples import Unavailable
from edgellm.runner import roofs
from edgellm.runner.session import Engine, open_session


@pytest.fixture
def small(monkeypatch):
    """Make every probe so small that it takes milliseconds."""
    for module in (roofs, bandwidth):
        monkeypatch.setattr(module, "PROBE_NS", 0)
    monkeypatch.setattr(bandwidth, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(bandwidth, "MOST_BYTES", 1 << 20)
    for name in ("ROWS", "INNER", "COLUMNS"):
        monkeypatch.setattr(roofs, name, 8)


@pytest.mark.parametrize(("threads", "probed"), [(1, [1]), (2, [1, 2])])
def test_one_thread_and_those_of_the_run_are_probed(small, tmp_path, threads, probed):
    found = roofs.measure_roofs(threads, tmp_path)

    assert [roof.threads for roof in found] == probed
    for roof in found:
        assert roof.buffer_bytes == 1 << 20
        assert roof.read_bytes_per_s > 0
        assert set(roof.ops_per_s) == {"float32", "int8"}
        assert min(roof.ops_per_s.values()) > 0


def test_a_rate_counts_two_operations_for_each_product(small, monkeypatch):
    # The end; then, for each call: is it over, its start, its end.
    clock = iter([0, 0, 0, 100, 0, 0, 900, 0, 0, 200, 0])
    monkeypatch.setattr(roofs, "monotonic", lambda: next(clock))

    rate = roofs._ops_per_s("float32", 1)

    assert rate == pytest.approx(2 * 8**3 * 1e9 / 200)


@pytest.mark.parametrize("kind", roofs.KINDS)
def test_the_probe_really_multiplies(kind):
    operator, left, right, a, b = roofs.KINDS[kind]
    rng = np.random.default_rng(0)
    weights = rng.integers(-9, 9, (5, 7)).astype(b)
    given = rng.integers(0, 9, (3, 5)).astype(a)

    session = open_session(roofs._product(operator, left, right, weights), Engine(1))
    (product,) = session.run(None, {"a": given})

    np.testing.assert_array_equal(product, given.astype(int) @ weights.astype(int))


def test_too_little_memory_is_the_reason_for_no_roof(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 2000 kB\n")

    found = roofs.measure_roofs(1, tmp_path)

    assert isinstance(found, Unavailable)
    assert "less memory is free than a probe needs" in found.why
