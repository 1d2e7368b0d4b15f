import dataclasses
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm import targets
from edgellm.errors import BundleInvalid, UsageError
from edgellm.records.target import CoreCluster, Memory, Power, Sensors, Software, Target

KNOWN = targets.names()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(targets.ENVIRONMENT, str(tmp_path))
    return tmp_path


def numbers(value: object, name: str = "") -> list[str]:
    if isinstance(value, dict):
        return [n for key, item in value.items() for n in numbers(item, f"{name}.{key}")]
    if isinstance(value, (list, tuple)):
        return [n for i, item in enumerate(value) for n in numbers(item, f"{name}.{i}")]
    return [name.removeprefix(".")] if isinstance(value, (int, float)) else []


def test_the_boards_are_there():
    assert {"x86-64-host", "raspberry-pi-zero-2-w", "raspberry-pi-5-8gb"} <= set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_a_target_is_valid_and_bears_its_files_name(name: str):
    assert targets.load(name).id == name


@pytest.mark.parametrize("name", KNOWN)
def test_every_number_has_a_source_in_the_file_that_states_it(name: str):
    table = tomllib.loads((targets.directory() / f"{name}.toml").read_text())
    stated = Target(name, name, "aarch64", sources=table.pop("sources", {}))

    words = [f"{key}.{inner}" for key in ("software", "sensors") for inner in table.get(key, {})]
    facts = [*numbers(table), *words]
    assert [fact for fact in facts if stated.source(fact) is None] == []


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_target_inherits_from_is_another_and_ends(name: str):
    line = [name]
    while parent := tomllib.loads((targets.directory() / f"{line[-1]}.toml").read_text()).get(
        "from"
    ):
        assert parent not in line
        line.append(parent)
    assert line[-1] in {"aarch64-generic", "x86-64-host"}


@pytest.mark.parametrize("name", KNOWN)
def test_every_source_belongs_to_a_value(name: str):
    target = targets.load(name)
    values = dataclasses.asdict(target)
    for key in target.sources:
        value = values
        for part in key.split("."):
            value = value[int(part)] if part.isdigit() else value[part]
        assert value, f"{name}: the source of {key} has no value"


def test_the_schema_has_the_fields_of_the_records():
    schema = json.loads((targets.directory() / "schema.json").read_text())["properties"]

    def fields(cls: type) -> set[str]:
        return {field.name for field in dataclasses.fields(cls)}

    assert set(schema) == fields(Target) - {"id"} | {"from"}
    assert set(schema["clusters"]["items"]["properties"]) == fields(CoreCluster)
    assert set(schema["memory"]["properties"]) == fields(Memory)
    assert set(schema["power"]["properties"]) == fields(Power)
    assert set(schema["software"]["properties"]) == fields(Software)
    assert set(schema["sensors"]["properties"]) == fields(Sensors)


def test_an_unknown_name_says_what_was_meant():
    with pytest.raises(UsageError, match="no target 'pi-5-8gb'; did you mean 'raspberry-pi-5-8gb'"):
        targets.load("pi-5-8gb")


def test_a_child_adds_to_its_parents_tables_and_replaces_its_lists(folder: Path):
    (folder / "a.toml").write_text(
        'name = "A"\narch = "aarch64"\n[memory]\nbytes = 1\ntype = "t"\n'
        '[[clusters]]\nuarch = "x"\ncores = 2\n'
    )
    (folder / "b.toml").write_text(
        'from = "a"\nname = "B"\n[memory]\nbytes = 2\n[[clusters]]\nuarch = "y"\ncores = 4\n'
    )

    target = targets.load("b")

    assert (target.name, target.arch, target.cores) == ("B", "aarch64", 4)
    assert target.memory == Memory(bytes=2, type="t")


def test_a_circle_of_parents_is_named(folder: Path):
    (folder / "a.toml").write_text('from = "b"\nname = "A"\n')
    (folder / "b.toml").write_text('from = "a"\nname = "B"\n')

    with pytest.raises(BundleInvalid, match="'a' inherits from itself: a -> b -> a"):
        targets.load("a")


@settings(derandomize=True, deadline=None, max_examples=40)
@given(parents=st.lists(st.none() | st.integers(0, 4), min_size=5, max_size=5))
def test_inheritance_ends_or_its_circle_is_named(
    parents: list[int | None], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("targets")
    for name, parent in enumerate(parents):
        inherits = "" if parent is None else f'from = "{parent}"\n'
        (folder / f"{name}.toml").write_text(f'{inherits}name = "{name}"\narch = "aarch64"\n')
    line, at = [0], parents[0]
    while at is not None and at not in line:
        line.append(at)
        at = parents[at]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(targets.ENVIRONMENT, str(folder))
        if at is None:
            assert targets.load("0").name == "0"
        else:
            circle = " -> ".join(map(str, [*line[line.index(at) :], at]))
            with pytest.raises(BundleInvalid, match=f"inherits from itself: {circle}$"):
                targets.load("0")


def test_a_parent_that_is_not_there_is_named_with_its_child(folder: Path):
    (folder / "a.toml").write_text('from = "c"\nname = "A"\n')

    with pytest.raises(BundleInvalid, match=r"a\.toml inherits from 'c', which is not there"):
        targets.load("a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = "red"', "a.toml: target has an unknown key 'colour'"),
        ('memory.bytes = "4 GB"', 'a.toml: target.memory.bytes should be an integer, not "4 GB"'),
        ("memory.bytes = 0", "a.toml: target.memory.bytes should be more than 0, not 0"),
        ('software.python = ["3"]', r"target.software.python\[0\] should be two numbers .*not '3'"),
        ("vendor =", "a.toml is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_value(
    folder: Path, text: str, message: str
):
    (folder / "a.toml").write_text(f'name = "A"\narch = "aarch64"\n{text}\n')
    (folder / "b.toml").write_text('from = "a"\nname = "B"\n')

    for name in ("a", "b"):
        with pytest.raises(BundleInvalid, match=message):
            targets.load(name)


def test_an_architecture_is_one_that_we_know(folder: Path):
    (folder / "a.toml").write_text('name = "A"\narch = "armv7l"\n')

    with pytest.raises(BundleInvalid, match=r"target\.arch should be one of 'aarch64', 'x86_64'"):
        targets.load("a")


def test_a_folder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(targets.ENVIRONMENT, "/does/not/exist")

    with pytest.raises(UsageError, match="no targets in /does/not/exist"):
        targets.names()
