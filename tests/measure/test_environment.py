import os

import pytest

from edgellm.measure.environment import cpu_time, environment, state
from edgellm.records.machine import FrequencyPolicy, MachineState

CPUFREQ = "sys/devices/system/cpu/cpufreq"
# Layout of a Raspberry Pi 4's files, values made up.
PI_4 = {
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "proc/loadavg": "0.25 0.10 0.05 1/200 1234\n",
    "proc/meminfo": "MemTotal:  3884000 kB\nMemAvailable: 3000000 kB\n"
    "SwapTotal:  100 kB\nSwapFree: 40 kB\n",
    f"{CPUFREQ}/policy0/affected_cpus": "0 1 2 3\n",
    f"{CPUFREQ}/policy0/scaling_governor": "ondemand\n",
    f"{CPUFREQ}/policy0/scaling_min_freq": "600000\n",
    f"{CPUFREQ}/policy0/scaling_max_freq": "1800000\n",
    f"{CPUFREQ}/policy0/scaling_cur_freq": "1500000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
}


@pytest.fixture
def pi_4(put):
    return put(PI_4)


def test_the_state_of_a_board_is_read_in_plain_units(pi_4):
    assert state(pi_4) == MachineState(
        load_average=0.25,
        memory_available_bytes=3_000_000 * 1024,
        swap_used_bytes=60 * 1024,
        frequency_hz={"policy0": 1_500_000_000},
        temperature_celsius={"0 cpu-thermal": 48.312},
    )


def test_pain_25_firmware_is_recorded_where_it_names_itself(put):
    root = put({**PI_4, "proc/device-tree/chosen/bootloader/version": "f788aab6 2024-12-07\0"})
    found, _ = environment(state(root), state(root), {}, root)
    assert found.firmware == {"boot loader": "f788aab6 2024-12-07"}


def test_a_board_is_named_with_its_core_and_clocks(pi_4):
    found, missing = environment(state(pi_4), state(pi_4), {"onnxruntime": "1.32.0"}, pi_4)
    assert found.board == "Raspberry Pi 4 Model B Rev 1.5"
    assert found.cpu_model == "Cortex-A72"
    assert found.policies == (
        FrequencyPolicy("policy0", (0, 1, 2, 3), "ondemand", 600_000_000, 1_800_000_000),
    )
    assert found.versions["onnxruntime"] == "1.32.0"
    assert not found.virtual
    assert missing == ()


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("model name\t: ARMv8 Processor rev 4 (v8l)\nCPU part\t: 0xd03\n", "Cortex-A53"),
        ("CPU implementer\t: 0x61\nCPU part\t: 0xd03\n", "CPU part 0xd03"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n", "CPU part 0xfff"),
    ],
)
def test_a_core_is_named_by_its_part_where_that_is_arms(pi_4, lines, name):
    (pi_4 / "proc/cpuinfo").write_text(f"processor\t: 0\n{lines}")
    found, _ = environment(state(pi_4), state(pi_4), {}, pi_4)
    assert found.cpu_model == name


def test_the_cores_of_each_kind_are_counted_and_the_chip_is_named(put):
    core = "processor\t: {}\nCPU implementer\t: 0x41\nCPU part\t: {}\n\n"
    root = put(
        {
            "proc/cpuinfo": "".join(map(core.format, range(3), ("0xd05", "0xd05", "0xd0b"))),
            "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
        }
    )
    found, _ = environment(state(root), state(root), {}, root)
    assert found.core_models == {"Cortex-A55": 2, "Cortex-A76": 1}
    assert found.compatible == ("radxa,rock-5b", "rockchip,rk3588")


def test_where_one_core_is_unknown_none_is_counted(put):
    root = put({"proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd05\nprocessor\t: 1\n"})
    found, _ = environment(state(root), state(root), {}, root)
    assert found.core_models == {}


def test_a_machine_that_says_nothing_has_reasons_in_place_of_values(tmp_path):
    found, missing = environment(state(tmp_path), state(tmp_path), {}, tmp_path)
    assert found.cpu_model is None
    assert found.before == MachineState(None, None, None, {}, {})
    assert [gap.what for gap in missing] == [
        "governor and frequency",
        "temperature",
        "cpu model",
    ]


def test_a_hypervisor_is_seen(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name\t: A CPU\nflags\t: fpu hypervisor\n")
    found, _ = environment(state(tmp_path), state(tmp_path), {}, tmp_path)
    assert (found.virtual, found.cpu_model) == (True, "A CPU")


def test_a_sensor_that_returns_garbage_is_left_out(pi_4):
    (pi_4 / "sys/class/thermal/thermal_zone0/temp").write_text("hot\n")
    (pi_4 / CPUFREQ / "policy0/scaling_cur_freq").write_text("<unknown>\n")
    found = state(pi_4)
    assert found.temperature_celsius == {}
    assert found.frequency_hz == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/device-tree/model", "linux,dummy-virt\0"),
        ("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n"),
        ("sys/class/dmi/id/product_name", "KVM Virtual Machine\n"),
    ],
)
def test_a_virtual_machine_on_arm_is_known_by_its_board(tmp_path, path, text):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    found, _ = environment(state(tmp_path), state(tmp_path), {}, tmp_path)
    assert found.virtual


def test_the_time_of_the_cores_is_kept_apart_from_what_was_stolen(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 10 50 9000 800 3 7 40 5 0\ncpu0 1 2 3\n")
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    found = cpu_time(tmp_path)
    assert (found.busy_ns, found.stolen_ns) == (170 * tick_ns, 40 * tick_ns)
    assert found.own_ns > 0


@pytest.mark.parametrize(
    "text", ["", "cpu\n", "cpu  1 2 3\n", "cpu  a b c d e f g h\n", "intr 1\n"]
)
def test_a_truncated_account_of_time_is_unknown_not_zero(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(text)
    assert cpu_time(tmp_path) is None


def test_a_truncated_cpuinfo_names_what_it_can(pi_4):
    (pi_4 / "proc/cpuinfo").write_text(
        "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\nCPU pa"
    )
    found, missing = environment(state(pi_4), state(pi_4), {}, pi_4)
    assert (found.cpu_model, found.features) == (None, ("asimd",))
    assert [gap.what for gap in missing] == ["cpu model"]


def test_a_folder_where_a_sensor_should_be_is_left_out(pi_4):
    temperature = pi_4 / "sys/class/thermal/thermal_zone0/temp"
    temperature.unlink()
    temperature.mkdir()  # reading it fails, as a sensor does whose bus does not answer
    assert state(pi_4).temperature_celsius == {}
