"""Boards as data: what each is, which one a machine is, and how to record a machine for tests.

``targets/README.md`` explains the files.
"""

from edgellm.targets.detection import Detection, Facts, detect, uarch_of
from edgellm.targets.files import ENVIRONMENT, directory, load, names
from edgellm.targets.recording import MARK, Recording, private_names, record, replay, unpack

__all__ = [
    "ENVIRONMENT",
    "MARK",
    "Detection",
    "Facts",
    "Recording",
    "detect",
    "directory",
    "load",
    "names",
    "private_names",
    "record",
    "replay",
    "uarch_of",
    "unpack",
]
