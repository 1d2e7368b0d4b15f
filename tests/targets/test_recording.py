from pathlib import Path

import pytest

from edgellm import targets
from edgellm.errors import BundleInvalid

MACHINES = Path(__file__).parents[1] / "data/machines"
UUID = "12345678-9abc-def0-1234-56789abcdef0"


def none(_question: str) -> None:
    return None


@pytest.mark.parametrize("name", sorted(folder.name for folder in MACHINES.iterdir()))
def test_a_recording_of_a_recorded_machine_has_the_same_facts(name: str, unpack_machine):
    machine = unpack_machine(name)
    text = (MACHINES / name / "machine.txt").read_text()

    again = targets.record("again", (), machine.root, machine.ask)

    assert targets.replay(again.text, "again") == targets.replay(text, name)
    assert again.removed == {}


def test_what_the_firmware_answers_is_recorded(unpack_machine, tmp_path: Path):
    machine = unpack_machine("raspberry-pi-5")

    again = targets.record("again", (), machine.root, machine.ask)

    answers = targets.unpack(again.text, "again", tmp_path / "unpacked")
    assert answers["pmic_read_adc"].strip() == machine.answers["pmic_read_adc"].strip()


def test_personal_data_is_cut_out_and_counted(tmp_path: Path):
    files = {
        "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\nSerial\t\t: 10000000abcdef01\n",
        "proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\nbtime 1700000000\n",
        "proc/device-tree/model": "Board of alice\0",
        "proc/device-tree/compatible": "myhost,board\0chip\0",
        "sys/class/power_supply/mouse-aa:bb:cc:dd:ee:ff/type": "Battery\n",
        "sys/class/hwmon/hwmon0/name": UUID,
        "sys/class/dmi/id/product_serial": "SECRET",
        "etc/hostname": "myhost",
    }
    targets.unpack("".join(f"\n== {path}\n{text}" for path, text in files.items()), "x", tmp_path)

    recording = targets.record("here", {"alice", "myhost"}, tmp_path, none)

    for secret in ("10000000abcdef01", "1700000000", "alice", "aa:bb", UUID, "SECRET"):
        assert secret not in recording.text
    assert "myhost,board\nchip\n" in recording.text  # the maker's name, which is no host's
    assert "Serial\t\t: removed\n" in recording.text
    assert recording.removed == {
        "a serial number": 1,
        "a name of the host or of a user": 1,
        "a network address": 1,
        "a unique identifier": 1,
    }


def test_the_names_of_here_leave_out_what_tells_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr("socket.gethostname", lambda: "board.example.org")

    found = targets.private_names()

    assert {"alice", "board", "board.example.org"} <= found
    assert not {"root", ""} & found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "x.txt is no recording: no line starts with '== '"),
        ("#\n== ../../etc/passwd\nroot", "x.txt is unsafe: '../../etc/passwd' leads out"),
        ("#\n== proc/meminfo\nMemTotal: 1 kB", "x.txt has no proc/cpuinfo"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, message: str):
    with pytest.raises(BundleInvalid, match=message):
        targets.replay(text, "x.txt")
