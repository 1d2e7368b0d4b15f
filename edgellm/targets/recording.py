"""A machine as a text file: what its kernel says to our probes, without personal data.

Tests read such files in place of ``/proc`` and ``/sys``. After lines of ``#``, each file is
``== PATH`` and its text; what the firmware of a Raspberry Pi answers is ``== vcgencmd QUESTION``.
"""

import dataclasses
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgellm.errors import BundleInvalid
from edgellm.measure import sysfs, vcgencmd
from edgellm.measure.environment import environment, state
from edgellm.measure.events import processors
from edgellm.measure.power import PMIC_QUESTION
from edgellm.records.machine import Environment

MARK = "\n== "
FIRMWARE = "vcgencmd "
QUESTIONS = ("get_throttled", PMIC_QUESTION)
CPUINFO, STAT = "proc/cpuinfo", "proc/stat"
REMOVED = "removed"

PUBLIC = {"root", "localhost"}  # names that tell nothing

_CPU = "sys/devices/system/cpu"
_POLICY = f"{_CPU}/cpufreq/policy*"
_PMU = "sys/bus/event_source/devices/*"
PATHS = (  # what edgellm.measure reads; all of it is about the machine, none about its user
    *(CPUINFO, STAT, "proc/meminfo", "proc/loadavg"),
    "proc/sys/kernel/perf_event_paranoid",
    *("proc/device-tree/model", "proc/device-tree/compatible"),
    *("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"),
    *(f"{_POLICY}/affected_cpus", f"{_POLICY}/scaling_governor", f"{_POLICY}/scaling_cur_freq"),
    *(f"{_POLICY}/scaling_min_freq", f"{_POLICY}/scaling_max_freq"),
    *(f"{_CPU}/cpu0/cache/index*/{name}" for name in ("level", "type", "size")),
    *(f"{_CPU}/cpu0/tsc_freq_khz", f"{_CPU}/cpu*/thermal_throttle/*_throttle_count"),
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    *("sys/class/thermal/thermal_zone*/type", "sys/class/thermal/thermal_zone*/temp"),
    *(f"sys/class/hwmon/hwmon*/{name}" for name in ("name", "*_label", "*_input", "*_average")),
    "sys/class/hwmon/hwmon*/*_alarm",
    *(f"sys/class/powercap/intel-rapl:*/{name}" for name in ("name", "energy_uj")),
    "sys/class/powercap/intel-rapl:*/max_energy_range_uj",
    *(f"sys/class/power_supply/*/{name}" for name in ("type", "status")),
    *(f"sys/class/power_supply/*/{name}_now" for name in ("power", "voltage", "current")),
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*",
    "sys/devices/platform/soc*/soc*:firmware/get_throttled",
    *(f"{_PMU}/type", f"{_PMU}/cpus", f"{_PMU}/events/*"),
)

# By what it would tell: what is cut out, wherever it stands.
SECRETS = {
    "a network address": re.compile(r"\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b", re.IGNORECASE),
    "a unique identifier": re.compile(
        r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE
    ),
    "a serial number": re.compile(r"(?<=^Serial)(\s*: ).*", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """A machine's recording.

    Attributes:
        text: The file.
        removed: What was cut out, and how often.
    """

    text: str
    removed: Mapping[str, int]


def record(
    origin: str,
    names: Iterable[str],
    root: Path = Path("/"),
    ask: vcgencmd.Ask = vcgencmd.ask,
) -> Recording:
    """Record this machine.

    Args:
        origin: Says where it comes from, as a sentence for the first line.
        names: Of the host and of its users; each is cut out as a word.
        root: Where ``proc`` and ``sys`` are; for tests.
        ask: Asks a Raspberry Pi's firmware; for tests.
    """
    words = [re.escape(name) for name in names]
    secrets = dict(SECRETS)
    if words:
        secrets["a name of the host or of a user"] = re.compile(
            rf"(?<![\w.,-])(?:{'|'.join(words)})(?![\w.,-])"
        )
    removed = Counter[str]()
    parts = []
    for path, text in _contents(root, ask):
        part = f"{path}\n{text}"
        for what, pattern in secrets.items():
            part, count = pattern.subn(_without, part)
            removed[what] += count
        parts.append(part)
    text = MARK.join([f"# {origin}", *parts])
    return Recording(f"{text}\n", {what: count for what, count in removed.items() if count})


def private_names() -> frozenset[str]:
    """Return the names of this host and of whoever is logged in."""
    host = socket.gethostname()
    users = (os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER"))
    return frozenset({host, host.partition(".")[0], Path.home().name, *users}) - {"", *PUBLIC}


def _without(match: re.Match[str]) -> str:
    return f"{match[1]}{REMOVED}" if match.re.groups else REMOVED


def _contents(root: Path, ask: vcgencmd.Ask) -> Iterator[tuple[str, str]]:
    paths = {path for pattern in PATHS for path in root.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        text = sysfs.text(path)
        if text is not None:
            name = str(path.relative_to(root))
            # The first line of proc/stat is read; the others tell when the machine was started.
            text = text.partition("\n")[0] if name == STAT else text
            yield name, text.replace("\0", "\n")
    if vcgencmd.has_firmware(root):
        answers = ((question, ask(question)) for question in QUESTIONS)
        yield from ((FIRMWARE + question, answer) for question, answer in answers if answer)


def unpack(text: str, name: str, root: Path) -> dict[str, str]:
    """Write a recording's files into ``root``.

    Args:
        text: The recording.
        name: Of its file, for messages.
        root: An empty folder.

    Returns:
        The firmware's answers by question.

    Raises:
        BundleInvalid: It is no recording, or a path leads out of ``root``.
    """
    answers = {}
    _, *files = text.split(MARK)
    if not files:
        raise BundleInvalid(f"{name} is no recording: no line starts with '== ' and a path")
    for file in files:
        place, _, content = file.partition("\n")
        if place.startswith(FIRMWARE):
            answers[place.removeprefix(FIRMWARE)] = content
            continue
        path = root / place
        if not path.resolve().is_relative_to(root.resolve()):
            raise BundleInvalid(f"{name} is unsafe: {place!r} leads out of its folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return answers


def replay(text: str, name: str) -> Environment:
    """Return the recorded machine's facts, as the probes would find them there.

    Its kernel's release is not recorded, nor who may use which core: those are empty.

    Args:
        text: The recording.
        name: Of its file, for messages.

    Raises:
        BundleInvalid: It is no recording, or names no processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        answers = unpack(text, name, root)
        listed = processors(root)
        if not listed:
            raise BundleInvalid(f"{name} has no {CPUINFO}, which says what machine it is")
        machine = "aarch64" if "cpu part" in next(iter(listed.values())) else "x86_64"
        # Part of the time of the cores is this process's own, which never ran there.
        now = dataclasses.replace(state(root, answers.get), cpu_time=None)
        found, _ = environment(now, now, {}, root)
    return dataclasses.replace(
        found, kernel="", machine=machine, cores=len(listed), affinity=(), versions={}
    )
