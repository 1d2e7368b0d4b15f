"""The table of costs, and the planes through it."""

import dataclasses

import pytest

from edgellm.quantize.choose import KERNELS
from edgellm.quantize.costs import PREFILL_ROWS, Costs, core_of, key, shipped
from edgellm.quantize.scheme import Kernel
from edgellm.records.target import CoreCluster, Target

ROWS = Kernel("rows", 8)
SIZES = ((64, 64), (64, 256), (256, 64), (128, 512), (512, 512))


def instructions(inputs: int, outputs: int) -> int:
    return 1000 + 2 * inputs + 5 * outputs + inputs * outputs // 4


@pytest.fixture
def table() -> Costs:
    """Give a table whose counts lie on a known plane."""
    counts = {key(*size, 1): instructions(*size) for size in SIZES}
    return Costs({}, {"core": {str(ROWS): counts}})


def test_a_size_that_was_counted_costs_what_was_counted(table: Costs) -> None:
    assert table.count("core", ROWS, (128, 512), 1) == instructions(128, 512)


def test_a_size_between_lies_on_the_plane_through_the_others(table: Costs) -> None:
    assert table.count("core", ROWS, (192, 320), 1) == pytest.approx(instructions(192, 320))


def test_the_table_that_ships_is_complete_and_its_planes_pass_near_all_counts() -> None:
    cores = shipped().cores
    assert set(cores) == {"cortex_a53", "cortex_a72", "cortex_a76", "i8mm"}
    for core, kernels in cores.items():
        assert set(kernels) == set(map(str, KERNELS))
        for kernel in KERNELS:
            for name, count in kernels[str(kernel)].items():
                inputs, outputs, rows = map(int, name.split("x"))
                assert rows in (1, PREFILL_ROWS)
                others = {k: v for k, v in kernels[str(kernel)].items() if k != name}
                table = Costs({}, {core: {str(kernel): others}})
                # Left out, it is found again from the others: what a size between them is worth.
                found = table.count(core, kernel, (inputs, outputs), rows)
                assert found == pytest.approx(count, rel=0.3), (core, kernel, name)


@pytest.mark.parametrize(
    ("uarch", "features", "core"),
    [
        ("cortex_a53", ("asimd",), "cortex_a53"),
        ("cortex_a55", ("asimd", "asimddp"), "cortex_a76"),
        ("cortex_x4", ("asimd", "asimddp", "i8mm"), "i8mm"),
        ("aarch64", ("asimd",), "cortex_a72"),
    ],
)
def test_features_stand_in_for_a_core_that_was_not_counted(
    uarch: str, features: tuple[str, ...], core: str
) -> None:
    fastest = CoreCluster(uarch, 4, features=features)
    slow = CoreCluster("cortex_a53", 4, features=("asimd",))

    assert core_of(Target("x", "X", "aarch64", clusters=(fastest, slow))) == core


def test_nothing_was_counted_on_x86() -> None:
    target = Target("x", "X", "x86_64", clusters=(CoreCluster("zen3", 4),))

    assert core_of(target) is None
    assert core_of(dataclasses.replace(target, arch="aarch64", clusters=())) is None
