"""The light ring as one file, so that a bundle brings the very runner it was made for."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import edgellm

RING = ("records", "measure", "runner")
TOP = ("__init__.py", "errors.py")
SHEBANG = b"#!/usr/bin/env python3\n"
# The first lines that a board runs, whatever its Python: older ones must at least read them.
START = """\
import platform, sys

def refuse(reason):
    sys.stderr.write("edgellm: %s\\n" % reason)
    sys.exit(8)

HERE = "%s at %s" % (platform.python_version(), sys.executable)
if sys.maxsize < 2**32:
    refuse("onnxruntime needs a 64-bit system, and this Python is a 32-bit one (%s on %s): "
           "install the 64-bit image of this board's system" % (HERE, platform.machine()))
if sys.version_info < (3, 11):
    refuse("this needs Python 3.11 or newer, here is %s: start it with python3.11 or a newer one "
           "if there is one, else install a newer system, such as Debian 12" % HERE)
from edgellm.runner.__main__ import main

main()
"""
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say: bytes depend on content alone


def ring_sources() -> Mapping[str, bytes]:
    """Return the runner's source files by their name in an archive, with its ``__main__.py``."""
    package = Path(edgellm.__file__).parent
    paths = [package / name for name in TOP]
    for part in RING:
        paths += sorted((package / part).rglob("*.py"))
    sources = {f"edgellm/{p.relative_to(package).as_posix()}": p.read_bytes() for p in paths}
    return {"__main__.py": START.encode(), **sources}


def runner_archive() -> bytes:
    """Return ``runner.pyz``: a zip that Python runs; the same bytes from the same sources."""
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in ring_sources().items():
            # Stored: what a compressor writes changes with its version.
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return out.getvalue()
