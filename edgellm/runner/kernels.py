"""The library of operators that a bundle brings for a processor; see ``edgellm/kernels``.

It is optional: what it has is also in the model as a function of standard operators, which give the
same numbers in more instructions.
"""

import os
import platform
import sys
from collections.abc import Mapping

from edgellm.runner.members import Member

OFF = "EDGELLM_KERNELS"  # set to "off": standard operators only
MEMBER = "kernels-{machine}.so"


def library(files: Mapping[str, Member]) -> str | None:
    """Return the path of the library for this processor, or None where a bundle brings none.

    It is read into memory first: a bundle may be one file, and lie where nothing may be executed.
    """
    member = files.get(MEMBER.format(machine=platform.machine()))
    if member is None or sys.platform != "linux" or os.environ.get(OFF) == "off":
        return None
    if member not in _loaded:
        memory = os.memfd_create(member.path.name)
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(member.read())
        _loaded[member] = f"/proc/self/fd/{memory}"
    return _loaded[member]


# Kept as long as the process: a library is never unloaded, and one copy of it is enough.
_loaded: dict[Member, str] = {}
