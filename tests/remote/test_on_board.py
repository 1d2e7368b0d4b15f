import ast
import hashlib
import io
from pathlib import Path

import pytest

from edgellm.remote import on_board

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELLM_HOME", str(tmp_path))
    return tmp_path


def send(data: bytes, offset: int = 0) -> None:
    head = f"{SHA256} {offset} {len(CONTENT)}\n".encode()
    on_board.receive(io.BufferedReader(io.BytesIO(head + data)))


def test_an_old_python_can_read_the_source():
    ast.parse(Path(on_board.__file__).read_text(), feature_version=(3, 6))


def test_a_file_is_kept_under_its_digest(store):
    send(CONTENT)
    assert [path.name for path in (store / "blobs").iterdir()] == [SHA256]
    assert (store / "blobs" / SHA256).read_bytes() == CONTENT


def test_what_came_before_the_end_is_continued(store):
    with pytest.raises(SystemExit) as ended:
        send(CONTENT[:1000])
    assert ended.value.code == on_board.TRY_AGAIN
    assert on_board.probe()["blobs"] == {f"{SHA256}.part": 1000}
    send(CONTENT[1000:], 1000)
    assert on_board.probe()["blobs"] == {SHA256: len(CONTENT)}


@pytest.mark.parametrize("begun", [0, 1000])
def test_a_file_that_arrives_damaged_is_not_kept(store, begun):
    if begun:
        with pytest.raises(SystemExit):
            send(b"\1" * begun)
    with pytest.raises(SystemExit) as ended:
        send(CONTENT[begun:-1] + b"?", begun)
    assert ended.value.code == on_board.TRY_AGAIN
    assert list((store / "blobs").iterdir()) == []


def test_a_part_of_another_length_is_left_as_it_is(store):
    with pytest.raises(SystemExit):
        send(CONTENT[:1000])
    with pytest.raises(SystemExit) as ended:
        send(CONTENT[500:], 500)
    assert ended.value.code == on_board.TRY_AGAIN
    assert on_board.probe()["blobs"] == {f"{SHA256}.part": 1000}


def test_a_bundle_is_made_of_links_and_is_whole_or_absent(store):
    send(CONTENT)
    files = {"model.onnx": SHA256, "wheels/a.whl": SHA256}
    with pytest.raises(FileNotFoundError):
        on_board.assemble({"digest": "d1", "files": {**files, "z": "absent"}})
    assert on_board.probe()["bundles"] == [".d1"]
    on_board.assemble({"digest": "d1", "files": files})
    assert on_board.probe()["bundles"] == ["d1"]
    assert (store / "bundles/d1/wheels/a.whl").samefile(store / "blobs" / SHA256)


def test_what_is_damaged_there_is_found_and_removed(store):
    send(CONTENT)
    on_board.assemble({"digest": "d1", "files": {"model.onnx": SHA256}})
    on_board.discard({"digest": "d1", "sha256": [SHA256]})
    assert on_board.probe()["blobs"] == {SHA256: len(CONTENT)}
    (store / "blobs" / SHA256).write_bytes(b"a bad card")
    on_board.discard({"digest": "d1", "sha256": [SHA256]})
    assert on_board.probe()["blobs"] == {}
    assert on_board.probe()["bundles"] == []
