import tomllib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgellm.errors import BundleInvalid, UnsupportedModel
from edgellm.runner.requirements import REQUIRES, check, satisfies

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
versions = st.lists(st.integers(0, 40), min_size=1, max_size=3)


def dotted(numbers):
    return ".".join(map(str, numbers))


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@given(versions, versions)
def test_versions_compare_number_by_number(version, limit):
    width = max(len(version), len(limit))
    left, right = (v + [0] * (width - len(v)) for v in (version, limit))

    assert satisfies(dotted(version), f">={dotted(limit)}", "x") == (left >= right)
    assert satisfies(dotted(version), f"<{dotted(limit)}", "x") == (left < right)
    assert satisfies(dotted(version), f"=={dotted(limit)}", "x") == (left == right)


def test_a_zero_at_the_end_changes_nothing():
    assert satisfies("2", ">=2.0", "x")
    assert satisfies("2.0.0", "==2", "x")


def test_a_range_holds_all_its_parts():
    assert satisfies("1.32.4", ">=1.32,<1.33", "x")
    assert not satisfies("1.33.0", ">=1.32,<1.33", "x")


def test_a_bundle_asks_for_what_the_package_asks_for():
    project = tomllib.loads(PROJECT.read_text())["project"]
    packages = {name: wanted for name, wanted in REQUIRES.items() if name != "python"}

    assert project["dependencies"] == [name + wanted for name, wanted in packages.items()]
    assert project["requires-python"] == REQUIRES["python"]


def test_this_machine_meets_the_requirements_of_its_own_bundles():
    check(REQUIRES, "smol")


@pytest.mark.parametrize(
    ("requires", "error", "message"),
    [
        ({"onnxruntime": ">=99.1"}, BundleInvalid, "smol needs onnxruntime >=99.1, here is 1"),
        ({"python": "<3"}, BundleInvalid, "smol needs python <3, here is 3"),
        ({"numpy": "~2"}, BundleInvalid, "version range that cannot be read: '~2'"),
        ({"quantum": ">=1"}, BundleInvalid, "requires 'quantum', unknown to this edgellm"),
        ({"operators:acme.ops": ">=1"}, UnsupportedModel, "domain 'acme.ops'"),
    ],
)
def test_what_is_missing_is_named(requires, error, message):
    with pytest.raises(error, match=message):
        check(requires, "smol")
