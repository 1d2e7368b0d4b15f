"""Records to JSON and back, and what is refused."""

import dataclasses
import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.errors import BundleInvalid, EdgellmError, UsageError
from edgellm.records import codec
from edgellm.records.manifest import KVLayout, ModelFacts, StageRecord, Step

models = st.builds(
    ModelFacts,
    name=st.text(),
    architecture=st.text(),
    task=st.text(),
    vocab_size=st.integers(),
    hidden_size=st.integers(),
    kv=st.builds(KVLayout, *[st.integers(0, 99)] * 3, st.just("float32"), st.integers(1, 99)),
    route=st.sampled_from(["fused", "standard"]),
    bos_token_id=st.none() | st.integers(0, 9),
    stop_token_ids=st.lists(st.integers(0, 9)).map(tuple),
    license=st.none() | st.text(),
)
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
mappings = st.dictionaries(st.text(), values)
steps = st.builds(Step, st.text(), mappings, mappings, st.dictionaries(st.text(), st.text()))
stages = st.builds(StageRecord, models, st.lists(steps, max_size=2).map(tuple), st.just(()))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(stages)
def test_a_record_comes_back_as_it_was(record: StageRecord) -> None:
    assert codec.loads(StageRecord, codec.dumps(record), "stage.json") == record


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A record of schema 2, whose schema 1 said milliseconds."""

    KIND: ClassVar[str] = "sample"
    SCHEMA: ClassVar[int] = 2
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
        1: lambda old: {"wall_ns": [ms * 1000000 for ms in old["wall_ms"]]}
    }

    wall_ns: tuple[int, ...]
    scale: float = 1.0


def test_an_old_schema_is_lifted() -> None:
    old = '{"kind": "sample", "schema": 1, "wall_ms": [2]}'

    assert codec.loads(Sample, old, "old.json") == Sample((2_000_000,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kind": "sample", "schema": 2, "wall_ns": [1', "f.json is not valid JSON .* cut off"),
        ('{"kind": "other", "schema": 2}', "f.json is not an edgellm sample file"),
        ('{"kind": "sample", "schema": 3}', "has schema 3, this edgellm reads up to 2: upgrade"),
        ('{"kind": "sample", "wall_ns": []}', "has no schema number"),
        ('{"kind": "sample", "schema": 2}', "f.json lacks the key 'wall_ns'"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [1.5]}', r"wall_ns\[0\] should be an integer"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [true]}', "should be an integer, not true"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [], "x": 1}', "unknown key 'x'"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [], "scale": NaN}', "holds NaN"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [], "scale": 1e999}', "a finite number"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [], "scale": "1"}', "a finite number"),
        ("[]", "is not an edgellm sample file"),
        ("[" * 100_000, "is damaged or cut off"),
        ("1" * 10_000, "is damaged or cut off"),
        ('{"kind": "sample", "schema": 2, "wall_ns": [], "scale": 1' + "0" * 400 + "}", "a finite"),
    ],
)
def test_a_damaged_record_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(BundleInvalid, match=said):
        codec.loads(Sample, text, "f.json")


def test_a_literal_takes_only_its_values() -> None:
    with pytest.raises(BundleInvalid, match="route should be one of 'fused', 'standard'"):
        codec.from_json(ModelFacts.__annotations__["route"], "other", "route")


def test_a_value_that_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="use None and say why"):
        codec.dumps(Sample((), float("inf")))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    codec.write(path, Sample((1,)))

    with pytest.raises(ValueError, match="use None"):
        codec.write(path, Sample((), float("nan")))

    assert codec.read(Sample, path) == Sample((1,))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.json does not exist"):
        codec.read(Sample, tmp_path / "absent.json")
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        codec.read(Sample, tmp_path)


def test_folders_above_a_file_are_made(tmp_path: Path) -> None:
    codec.write(tmp_path / "deep" / "sample.json", Sample((1,)))

    assert codec.read(Sample, tmp_path / "deep" / "sample.json") == Sample((1,))


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with pytest.raises(UsageError, match="out is a folder; choose another output"):
        codec.write(tmp_path / "out", Sample(()))

    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *_arguments: object, **_options: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", fail)

    with pytest.raises(EdgellmError, match=r"the disk of .*sample\.json is full"):
        codec.write(tmp_path / "sample.json", Sample(()))

    assert list(tmp_path.iterdir()) == []
