import pytest

from edgellm.measure import power
from edgellm.measure.power import EnergyCounter, find_meters

ZONE = "sys/class/powercap/intel-rapl:0"


def silent(question):
    return None


def rapl(put, energy="100\n"):
    names = {"name": "package-0\n", "energy_uj": energy, "max_energy_range_uj": "999\n"}
    return put({f"{ZONE}/{name}": text for name, text in names.items()})


def watts(root):
    meters, missing = find_meters(root, silent)
    return {meter.name: meter.read() for meter in meters}, [gap.why for gap in missing]


def test_a_counter_of_energy_starts_at_zero_and_wraps_around(tmp_path):
    path = tmp_path / "energy_uj"
    path.write_text("990")
    counter = EnergyCounter(path, 999)
    assert counter() == 0.0
    path.write_text("998")
    assert counter() == pytest.approx(8e-6)
    path.write_text("002")
    assert counter() == pytest.approx(12e-6)
    counter.close()


@pytest.mark.parametrize("garbage", ["-5", "1000", "n/a", ""])
def test_a_count_that_cannot_be_is_refused_not_added(tmp_path, garbage):
    path = tmp_path / "energy_uj"
    path.write_text(garbage)
    counter = EnergyCounter(path, 999)
    with pytest.raises(ValueError, match=r"not between|invalid literal"):
        counter()
    counter.close()


def test_a_count_that_only_root_may_read_comes_with_the_command(tmp_path, monkeypatch, put):
    path = rapl(put) / ZONE / "energy_uj"

    def refuse(*paths):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(power, "Sensor", refuse)
    meters, (gap,) = find_meters(tmp_path, silent)
    assert meters == ()
    assert gap.what == "power package-0"
    assert gap.why == f"only root may read {path}: sudo chmod a+r {path}"


def test_the_memory_mapped_twin_is_not_counted_again(tmp_path, put):
    rapl(put)
    put({"sys/class/powercap/intel-rapl-mmio:0/name": "package-0\n"})
    meters, _ = find_meters(tmp_path, silent)
    assert [meter.name for meter in meters] == ["package-0"]


def test_a_chip_that_gives_power_is_read_in_microwatts(put):
    chip = "sys/class/hwmon/hwmon0"
    found, _ = watts(
        put(
            {
                f"{chip}/name": "ina226\n",
                f"{chip}/power1_input": "2500000\n",
                f"{chip}/in1_input": "5000\n",
                f"{chip}/curr1_input": "1\n",
            },
        )
    )
    assert found == {"ina226 power1": pytest.approx(2.5)}


def test_nvidias_own_driver_is_read_in_milliwatts(put):
    device = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    files = {f"{device}/in_power0_input": "1800\n", f"{device}/rail_name_0": "POM_5V_IN\n"}
    assert watts(put(files))[0] == {"POM_5V_IN": pytest.approx(1.8)}


def test_a_battery_counts_only_while_it_feeds_the_machine(tmp_path, put):
    supply = "sys/class/power_supply/BAT0"
    files = {"type": "Battery\n", "voltage_now": "12000000\n", "current_now": "500000\n"}
    put({f"{supply}/{name}": text for name, text in files.items()})
    put({f"{supply}/status": "Charging\n"})
    assert watts(tmp_path)[0] == {}
    put({f"{supply}/status": "Discharging\n"})
    assert watts(tmp_path)[0] == {"battery BAT0": pytest.approx(6.0)}


def test_a_sensor_that_does_not_answer_is_named(tmp_path):
    chip = tmp_path / "sys/class/hwmon/hwmon0"
    (chip / "power1_input").mkdir(parents=True)
    found, (why,) = watts(tmp_path)
    assert found == {}
    assert "does not answer" in why


def test_a_machine_without_sensors_says_so(tmp_path):
    why = "this machine has no sensor that the kernel knows; use a meter in the supply"
    assert watts(tmp_path) == ({}, [why])
