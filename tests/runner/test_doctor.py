import errno
import os
import platform

import pytest

from edgellm.runner import doctor_text
from edgellm.runner.doctor import examine
from edgellm.runner.imports import Imported

PACKAGES = (Imported("numpy", "2.4.6"), Imported("onnxruntime", "1.32.0"))


@pytest.fixture
def text_of(unpack_machine, monkeypatch):
    """Give the doctor's text for a recorded machine."""
    monkeypatch.setattr(platform, "release", lambda: "6.6.0")

    def text(name, machine="aarch64", refusal=0, packages=PACKAGES):
        recorded = unpack_machine(name)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        cores = (recorded.root / "proc/cpuinfo").read_text().count("processor\t")
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))

        def open_event(event, group):
            if refusal:
                raise OSError(refusal, os.strerror(refusal))
            return os.open("/dev/zero", os.O_RDONLY)

        found = examine(packages, root=recorded.root, open_event=open_event, ask=recorded.ask)
        return doctor_text.render(found)

    return text


def test_a_board_that_slows_down_fits_on_a_screen_with_advice(text_of):
    text = text_of("raspberry-pi-zero-2-w")
    lines = text.splitlines()
    assert lines[0] == (
        "machine      Raspberry Pi Zero 2 W Rev 1.0, Cortex-A53, aarch64, Linux 6.6.0"
    )
    assert "clock        policy0 (cores 0-3): ondemand, 1000 MHz of 600-1000" in lines
    assert "temperature  0 cpu-thermal 56.4 °C" in lines
    assert "memory       427 MiB, 258 MiB available, 4 MiB in swap" in lines
    assert (
        "- the supply's voltage fell: use a stronger supply and a shorter cable, then restart"
        in lines
    )
    assert "sudo cpupower frequency-set -g performance" in text
    assert "sudo swapoff -a" in text
    assert len(lines) <= 40
    assert all(len(line) <= 100 for line in lines if not line.startswith("- "))


def test_power_is_shown_in_watts_with_its_source(text_of):
    text = text_of("jetson-orin-nano")
    assert "VDD_IN: 4.85 W; hwmon ina3221, voltage x current" in text


def test_a_refusal_is_shown_once_with_what_is_counted_instead(text_of):
    text = text_of("container-without-permission", "x86_64", errno.EPERM)
    assert "reference cycles: TSC, rate from BogoMIPS / 2 (constant_tsc), 806.400 MHz" in text
    assert text.count("EPERM") == 1
    assert "thermal zone 0 x86_pkg_temp is at 81 °C: let it cool, or cool it better" in text
    assert "the load is 3.1 on 4 cores: stop other work" in text


def test_a_healthy_machine_has_nothing_to_mend(text_of):
    assert text_of("raspberry-pi-4b").endswith("\n\nnothing to mend")


def test_what_could_not_be_tried_is_said_once_for_all(text_of):
    why = "not tried: no child process can start here"
    packages = (Imported("numpy", None, why), Imported("onnxruntime", None, why))
    assert f"packages     numpy, onnxruntime: {why}" in text_of(
        "raspberry-pi-4b", packages=packages
    )


def test_a_package_that_crashes_comes_first_in_the_advice(text_of):
    crash = Imported("onnxruntime", None, "its import ends Python by SIGILL", failed=True)
    text = text_of("raspberry-pi-3b", packages=(crash,))
    assert (
        "- onnxruntime cannot be imported (its import ends Python by SIGILL): "
        "a bundle that was made with --target brings them, python3 BUNDLE install" in text
    )


@pytest.mark.parametrize("name", ["orange-pi-5", "raspberry-pi-5", "intel-n100"])
def test_every_machine_fits_on_a_screen(text_of, name):
    lines = text_of(name, "x86_64" if name == "intel-n100" else "aarch64").splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 100 for line in lines if not line.startswith("- "))
