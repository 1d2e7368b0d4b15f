import pytest

from edgellm.measure.environment import environment, state
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
def pi_4(tmp_path):
    for name, text in PI_4.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_state_of_a_board_is_read_in_plain_units(pi_4):
    assert state(pi_4) == MachineState(
        load_average=0.25,
        memory_available_bytes=3_000_000 * 1024,
        swap_used_bytes=60 * 1024,
        frequency_hz={"policy0": 1_500_000_000},
        temperature_celsius={"0 cpu-thermal": 48.312},
    )


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
