"""What the runner's commands share: options, cores, progress."""

import argparse
import sys
import time

from edgellm.errors import UsageError
from edgellm.records.progress import Progress
from edgellm.records.units import parse_share
from edgellm.runner import cpus

SPEAK_SECONDS = 2.0  # work shorter than this says nothing, longer work speaks this often


def machine_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads`` and ``--cpus``."""
    parser.add_argument("--threads", type=int, default=0, help="threads; 0 is one per core (0)")
    parser.add_argument("--cpus", help="cores to stay on, such as 0-3 or 4,5")


def json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def fit_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-fit-check``."""
    parser.add_argument(
        "--no-fit-check", action="store_true", help="go on where the machine seems too small"
    )


def pin(arguments: argparse.Namespace) -> None:
    """Stay on the cores that were asked for; without ``--threads``, use one thread for each.

    Raises:
        UsageError: The machine lacks one of them, or the number of threads is negative.
    """
    if arguments.threads < 0:
        raise UsageError(f"threads {arguments.threads} is not possible: it must be 0 or more")
    if arguments.cpus is not None:
        cores = cpus.parse(arguments.cpus)
        cpus.pin(cores)
        arguments.threads = arguments.threads or len(cores)


def progress() -> Progress:
    """Return a progress that writes a line to stderr now and then."""
    spoke = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal spoke
        now = time.monotonic()
        if now - spoke >= SPEAK_SECONDS:
            spoke = now
            print(f"{what} {done} of {total}", file=sys.stderr)

    return report


def share(text: str) -> float:
    """Parse ``5%`` or ``5`` as 0.05.

    Raises:
        UsageError: It is no share above 0.
    """
    value = parse_share(text)
    if not value:
        raise UsageError(f"{text!r} is no share: write it like 1%")
    return value
