import io
import time
import zipfile

from edgellm.bundle.runner_archive import SHEBANG, ring_sources, runner_archive


def test_the_bytes_depend_on_the_sources_alone(monkeypatch):
    first = runner_archive()
    monkeypatch.setattr(time, "time", lambda: 2e9)

    assert runner_archive() == first
    assert first.startswith(SHEBANG)


def test_the_archive_holds_the_light_ring_and_no_more():
    with zipfile.ZipFile(io.BytesIO(runner_archive())) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())

    packages = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert packages == {"records", "measure", "runner"}
    assert {"__main__.py", "edgellm/__init__.py", "edgellm/errors.py"} <= names
    assert names == set(ring_sources())
