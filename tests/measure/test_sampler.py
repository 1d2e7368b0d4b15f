import itertools
import threading

import pytest

from edgellm.measure import sampler as module
from edgellm.measure.clock import monotonic
from edgellm.measure.sampler import Sampler

ZONE = "sys/class/thermal/thermal_zone0"
POLICY = "sys/devices/system/cpu/cpufreq/policy0"
RAPL = "sys/class/powercap/intel-rapl:0"
BOARD = {
    f"{ZONE}/type": "cpu\n",
    f"{ZONE}/temp": "48000\n",
    f"{POLICY}/scaling_cur_freq": "1500000\n",
    "proc/loadavg": "0.50 0.40 0.30 1/100 1\n",
    "proc/meminfo": "SwapTotal: 8 kB\nSwapFree: 4 kB\n",
}
PACKAGE = {
    f"{RAPL}/name": "package-0\n",
    f"{RAPL}/energy_uj": "1000000\n",
    f"{RAPL}/max_energy_range_uj": "9000000\n",
}


class Samples:
    """Lets a test wait until the sampler has sampled so often."""

    def __init__(self, monkeypatch):
        self._done = threading.Semaphore(0)
        sample = Sampler._sample

        def counted(sampler, **options):
            sample(sampler, **options)
            self._done.release()

        monkeypatch.setattr(Sampler, "_sample", counted)

    def take(self):
        return self._done.acquire(blocking=False)

    def wait(self, count):
        for _ in range(count):
            assert self._done.acquire(timeout=10)


@pytest.fixture
def samples(monkeypatch):
    return Samples(monkeypatch)


def silent(question):
    return None


def test_samples_are_taken_at_the_start_meanwhile_and_at_the_end(put, samples):
    start = monotonic()
    with Sampler(monotonic, start, root=put(BOARD), interval_s=0.001, ask=silent) as sampler:
        samples.wait(3)
    timeline = sampler.timeline()
    times = [sample.at_ns for sample in timeline.samples]
    assert len(times) >= 4
    assert times == sorted(times)
    assert times[0] >= 0
    assert timeline.duration_ns >= times[-1] - times[0]
    assert 0 < timeline.cost_ns < timeline.duration_ns
    assert timeline.samples[0].frequency_hz == {"policy0": 1_500_000_000}
    assert timeline.samples[0].temperature_celsius == {"0 cpu": 48.0}
    assert timeline.samples[0].load_average == 0.5
    assert timeline.samples[0].swap_used_bytes == 4096


def test_changes_are_seen_through_files_that_stay_open(put, samples):
    root = put(BOARD)
    with Sampler(monotonic, monotonic(), root=root, interval_s=0.001, ask=silent) as sampler:
        samples.wait(1)
        put({f"{ZONE}/temp": "91000\n"})
        samples.wait(3)
    assert sampler.timeline().samples[-1].temperature_celsius == {"0 cpu": 91.0}


def test_a_sensor_that_turns_to_garbage_is_named_and_the_others_go_on(put, samples):
    root = put(BOARD)
    with Sampler(monotonic, monotonic(), root=root, interval_s=0.001, ask=silent) as sampler:
        samples.wait(1)
        put({f"{ZONE}/temp": "hot\n", "proc/loadavg": "\n", "proc/meminfo": "Swap"})
        samples.wait(3)
    last = sampler.timeline().samples[-1]
    assert last.temperature_celsius == {}
    assert (last.load_average, last.swap_used_bytes) == (None, None)
    assert last.frequency_hz == {"policy0": 1_500_000_000}
    assert "temperature 0 cpu" in [gap.what for gap in sampler.missing]


def test_a_sensor_that_cannot_be_read_at_all_is_named(put):
    (put(BOARD) / ZONE / "temp").unlink()
    (put({}) / ZONE / "temp").mkdir()
    with Sampler(monotonic, monotonic(), root=put({}), ask=silent) as sampler:
        pass
    reasons = {gap.what: gap.why for gap in sampler.missing}
    assert "gave no number" in reasons["temperature 0 cpu"]


def test_energy_is_counted_from_the_first_reading(put, samples):
    root = put({**BOARD, **PACKAGE})
    with Sampler(monotonic, monotonic(), root=root, interval_s=0.001, ask=silent) as sampler:
        samples.wait(2)  # the first has read its rails by then
        put({f"{RAPL}/energy_uj": "1500000\n"})
        samples.wait(3)
    (rail,) = sampler.timeline().rails
    assert (rail.name, rail.watts, rail.idle_watts) == ("package-0", (), None)
    assert (rail.joules[0], rail.joules[-1]) == (0.0, 0.5)


def test_idle_power_is_what_was_used_while_idle(put, samples):
    chip = "sys/class/hwmon/hwmon0"
    root = put({**BOARD, f"{chip}/name": "ina226\n", f"{chip}/power1_input": "4000000\n"})
    with Sampler(monotonic, monotonic(), root=root, interval_s=0.001, ask=silent) as sampler:
        sampler.idle(0.05)
        while samples.take():
            pass
        samples.wait(2)  # these end after the idle time
        put({f"{chip}/power1_input": "9000000\n"})
        samples.wait(2)
    (rail,) = sampler.timeline().rails
    assert rail.watts[-1] == 9.0
    assert rail.idle_watts == pytest.approx(4.0)


def test_without_a_power_sensor_idling_takes_no_time(put):
    with Sampler(monotonic, monotonic(), root=put(BOARD), ask=silent) as sampler:
        sampler.idle(1000)
    assert sampler.timeline().rails == ()
    assert [gap.what for gap in sampler.missing] == ["power"]


def test_samples_that_cost_too_much_are_taken_less_often(put, samples, monkeypatch):
    spent = itertools.count(0, 2_000_000)  # 2 ms of processor time from one look to the next
    monkeypatch.setattr(module, "_spent_ns", lambda: next(spent))
    with Sampler(monotonic, monotonic(), root=put(BOARD), interval_s=0.001, ask=silent) as sampler:
        samples.wait(2)
    assert sampler.timeline().interval_ns >= 200_000_000


def test_the_firmware_is_asked_at_most_once_a_second(put, samples):
    asked = []

    def ask(question):
        asked.append(question)
        return "VDD_CORE_A current(7)=2.0A\nVDD_CORE_V volt(15)=0.9V\n"

    root = put({**BOARD, "proc/device-tree/model": "Raspberry Pi 5\0"})
    ticks = itertools.count(0, 1_000_000)
    with Sampler(lambda: next(ticks), 0, root=root, interval_s=0.001, ask=ask) as sampler:
        samples.wait(5)
    (rail,) = sampler.timeline().rails
    assert (rail.name, rail.watts) == ("PMIC", (1.8, 1.8))
    assert asked == ["pmic_read_adc"] * 3  # to find it, at the start, and at the end


def test_an_error_in_the_block_stops_the_thread_and_goes_on(put):
    with pytest.raises(ZeroDivisionError), Sampler(monotonic, 0, root=put(BOARD), ask=silent):
        raise ZeroDivisionError
    assert "sampler" not in [thread.name for thread in threading.enumerate()]


def test_a_sensor_that_hangs_is_left_to_itself_and_said(put, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(module, "STOP_S", 0.05)
    monkeypatch.setattr(module.Sensors, "sample", lambda sensors, at_ns: answer.wait(10))
    with Sampler(monotonic, monotonic(), root=put(BOARD), ask=silent) as sampler:
        pass
    assert "timeline" in [gap.what for gap in sampler.missing]
    answer.set()
