"""Questions to a Raspberry Pi's firmware, by its own program."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from edgellm.measure import sysfs

TIMEOUT_S = 2.0

Ask = Callable[[str], str | None]
"""Ask the firmware; None where it does not answer."""


def ask(question: str) -> str | None:
    """Return what ``vcgencmd QUESTION`` prints; None where it is absent, refused or stuck.

    It starts a process, which takes milliseconds: never in a loop that must be cheap.
    """
    try:
        asked = subprocess.run(
            ["vcgencmd", question], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def has_firmware(root: Path) -> bool:
    """Return whether this is a Raspberry Pi, which alone can be asked."""
    return "Raspberry Pi" in (sysfs.text(root / "proc/device-tree/model") or "")
