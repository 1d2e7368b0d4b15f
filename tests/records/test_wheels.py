import pytest

from edgellm.errors import UsageError
from edgellm.records.wheels import parse, version

NUMPY = "wheels/numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"
TOKENIZERS = "tokenizers-0.23.3-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def test_a_name_says_package_python_and_machine() -> None:
    wheel = parse(NUMPY)

    assert (wheel.name, wheel.version, wheel.path) == ("numpy", "2.4.6", NUMPY)
    assert (wheel.python, wheel.abi, wheel.arch) == ("3.11", "cp311", "aarch64")


@pytest.mark.parametrize(("path", "glibc"), [(NUMPY, "2.27"), (TOKENIZERS, "2.17")])
def test_the_oldest_platform_counts(path, glibc) -> None:
    assert parse(path).glibc == glibc


@pytest.mark.parametrize(
    ("path", "python", "takes"),
    [
        (NUMPY, "3.11.2", True),
        (NUMPY, "3.12", False),
        (TOKENIZERS, "3.9.18", False),
        (TOKENIZERS, "3.10", True),
        (TOKENIZERS, "3.13.5", True),
    ],
)
def test_a_stable_abi_serves_newer_pythons_too(path, python, takes) -> None:
    assert parse(path).takes(python) is takes


@pytest.mark.parametrize(
    ("arch", "glibc", "suits"),
    [
        ("aarch64", "2.27", True),
        ("aarch64", "2.36", True),
        ("aarch64", None, True),
        ("aarch64", "2.26", False),
        ("x86_64", "2.36", False),
    ],
)
def test_machine_and_glibc_must_suit(arch, glibc, suits) -> None:
    assert parse(NUMPY).suits("3.11", arch, glibc) is suits


@pytest.mark.parametrize(
    "path", ["x.whl", "click-8.1.0-py3-none-any.whl", "a-1-cp311-cp311-win.whl"]
)
def test_what_is_no_wheel_for_linux_is_named(path) -> None:
    with pytest.raises(UsageError, match=f"{path} is no wheel for Linux"):
        parse(path)


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.36-9+deb12u4", (2, 36)), ("3.11.2", (3, 11, 2)), ("none", ())]
)
def test_a_version_is_its_leading_numbers(text, numbers) -> None:
    assert version(text) == numbers
