"""Every recording of ``tests/data/machines`` is the target that it was recorded on."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm import targets
from edgellm.records.target import CoreCluster, Memory, Target

MACHINES = Path(__file__).parents[1] / "data/machines"
BOARDS = {
    "raspberry-pi-zero-2-w": "raspberry-pi-zero-2-w",
    "raspberry-pi-3b": "raspberry-pi-3b",
    "raspberry-pi-4b": "raspberry-pi-4b-1gb",
    "raspberry-pi-5": "raspberry-pi-5-4gb",
    "orange-pi-5": "orange-pi-5",
    "jetson-orin-nano": "jetson-orin-nano-8gb",
    "intel-n100": "intel-n100",
    "container-without-permission": "intel-n100",
    "vm-without-counters": "x86-64-host",
}
AVX = ("avx", "avx2", "fma", "avx_vnni")
A76 = ("asimd", "asimdhp", "asimddp")


@dataclass(frozen=True)
class Board:
    """A Raspberry Pi 5 with 8 GB; what a test does not say."""

    machine: str = "aarch64"
    board: str | None = "Raspberry Pi 5 Model B Rev 1.0"
    compatible: tuple[str, ...] = ("raspberrypi,5-model-b", "brcm,bcm2712")
    cpu_model: str | None = "Cortex-A76"
    core_models: dict[str, int] = field(default_factory=lambda: {"Cortex-A76": 4})
    cores: int = 4
    memory_bytes: int | None = 8_454_000_000
    features: tuple[str, ...] = A76


def best(facts: targets.Facts) -> str | None:
    found = targets.detect(facts).best
    return found and found.id


def test_every_recording_is_expected_here():
    assert {folder.name for folder in MACHINES.iterdir()} == set(BOARDS)


@pytest.mark.parametrize(("recording", "target"), BOARDS.items())
def test_a_recorded_machine_is_its_target(recording: str, target: str):
    path = MACHINES / recording / "machine.txt"

    assert best(targets.replay(path.read_text(), str(path))) == target


@pytest.mark.parametrize(
    ("facts", "target"),
    [
        (Board(), "raspberry-pi-5-8gb"),
        (Board(memory_bytes=16_800_000_000), "raspberry-pi-5-16gb"),
        (Board(memory_bytes=2_000_000_000), "raspberry-pi-5"),
        (Board(memory_bytes=None), "raspberry-pi-5"),
        (Board(board="Raspberry Pi 500 Rev 1.0"), "raspberry-pi-500"),
        (Board(board="Raspberry Pi Compute Module 5 Rev 1.0"), "bcm2712"),
        (Board(board="Orange Pi 5 Max", compatible=("rockchip,rk3588",)), "aarch64-dotprod"),
        (Board(board="linux,dummy-virt", compatible=()), "aarch64-dotprod"),
        (Board(board=None, compatible=(), features=("asimd",)), "aarch64-generic"),
        (
            Board("x86_64", compatible=(), cpu_model="Intel(R) N150", core_models={}, features=AVX),
            "intel-n150",
        ),
        (Board(machine="riscv64"), None),
    ],
)
def test_a_machine_is_the_most_that_its_facts_say(facts: Board, target: str | None):
    assert best(facts) == target


def test_a_board_of_two_kinds_of_cores_needs_both():
    rk3588 = {"Cortex-A76": 4, "Cortex-A55": 4}
    chip = ("radxa,rock-5c", "rockchip,rk3588s")

    assert best(Board(board=None, compatible=chip, core_models=rk3588, cores=8)) == "rk3588"
    assert best(Board(board=None, compatible=chip)) == "aarch64-dotprod"


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("raspberry-pi-5", ("it fits as well, but says less than raspberry-pi-5-8gb",)),
        ("raspberry-pi-5-4gb", ("it has 4 GiB of memory, this machine 7.87 GiB",)),
        ("x86-64-host", ("it is x86_64, this machine aarch64",)),
        (
            "bcm2711",
            (
                "its chip is 'brcm,bcm2711', this machine's 'brcm,bcm2712'",
                "it has 4 x cortex_a72, this machine 4 x cortex_a76",
            ),
        ),
        (
            "radxa-orion-o6",
            (
                "it calls itself 'Radxa Orion O6', this machine 'Raspberry Pi 5 Model B Rev 1.0'",
                "it has 4 x cortex_a520 + 8 x cortex_a720, this machine 4 x cortex_a76",
                "this machine lacks i8mm bf16 sve sve2",
            ),
        ),
    ],
)
def test_every_other_target_says_why_it_is_not_the_one(name: str, reasons: tuple[str, ...]):
    assert targets.detect(Board()).why_not[name] == reasons


def test_the_nearest_target_comes_first_and_another_architecture_last():
    others = list(targets.detect(Board()).why_not)

    assert others[:2] == ["raspberry-pi-5-16gb", "raspberry-pi-5-4gb"]
    assert {targets.load(name).arch for name in others[-3:]} == {"x86_64"}


def test_where_the_kinds_of_cores_are_unknown_their_number_is_held_against():
    assert best(Board(core_models={})) == "raspberry-pi-5-8gb"
    assert (
        "it has 4 cores, this machine 8"
        in targets.detect(Board(core_models={}, cores=8)).why_not["raspberry-pi-5-8gb"]
    )


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    installed=st.integers(29, 36).map(lambda power: 1 << power),
    kept=st.floats(0, 0.49),
)
def test_of_sizes_in_steps_of_two_exactly_one_fits_what_the_kernel_left(
    installed: int, kept: float
):
    sizes = [
        Target(str(size), "", "aarch64", (CoreCluster("x"),), memory=Memory(bytes=1 << size))
        for size in range(28, 38)
    ]

    found = targets.detect(Board(memory_bytes=int(installed * (1 - kept))), sizes)

    assert found.best is not None
    assert found.best.memory.bytes == installed
    assert len(found.why_not) == len(sizes) - 1
