import pytest

from edgellm.measure.pmu import cpu_list, find_pmus


def add_pmu(root, name, kind, cpus=None, events=()):
    folder = root / "sys/bus/event_source/devices" / name
    (folder / "events").mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    if cpus is not None:
        (folder / "cpus").write_text(f"{cpus}\n")
    for event in events:
        (folder / "events" / event).write_text("event=0x0\n")


def test_two_clusters_have_two_pmus_by_the_kernels_names(tmp_path):
    add_pmu(tmp_path, "armv8_cortex_a55", 9, "0-3", ["cpu_cycles"])
    add_pmu(tmp_path, "armv8_cortex_a76", 10, "4-7")
    small, big = find_pmus(tmp_path)
    assert (small.kind, small.cpus, small.announced) == (9, {0, 1, 2, 3}, {"cpu_cycles"})
    assert (big.covers({3, 4, 5}), small.covers({3, 4, 5})) == (2, 1)


def test_caches_and_buses_are_no_cores(tmp_path):
    add_pmu(tmp_path, "arm_dsu_0", 11)
    add_pmu(tmp_path, "software", 1)
    assert find_pmus(tmp_path) == ()


def test_the_lone_pmu_of_x86_counts_everywhere(tmp_path):
    add_pmu(tmp_path, "cpu", 4)
    (pmu,) = find_pmus(tmp_path)
    assert (pmu.kind, pmu.covers({0, 5})) == (4, 2)


def test_a_pmu_that_says_nothing_sensible_is_passed_over(tmp_path):
    add_pmu(tmp_path, "armv8_pmuv3", "none", "0")
    add_pmu(tmp_path, "cpu", 4, "zero")
    assert find_pmus(tmp_path) == ()


@pytest.mark.parametrize(("text", "cpus"), [("", set()), ("3\n", {3}), ("0-1,4-5", {0, 1, 4, 5})])
def test_the_kernels_lists_of_cores_are_read(text, cpus):
    assert cpu_list(text) == cpus
