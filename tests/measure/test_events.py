import pytest

from edgellm.measure.events import ARM_CORES, find_core
from edgellm.records.samples import STALLED_CYCLES

ARM = "processor\t: {cpu}\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n\n"
X86 = "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\n"


def machine(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    return tmp_path


def arm(*parts, implementer="0x41"):
    return "".join(
        ARM.format(cpu=cpu, part=part, implementer=implementer) for cpu, part in enumerate(parts)
    )


def test_the_core_is_that_of_the_cores_asked_for(tmp_path):
    root = machine(tmp_path, arm("0xd05", "0xd0b"))
    assert find_core(frozenset({1}), root).name == "Cortex-A76"
    assert find_core(frozenset(), root).name == "Cortex-A55"


@pytest.mark.parametrize("part", [0xD03, 0xD08])
def test_cores_before_armv8_1_are_not_asked_for_stalls(part):
    assert STALLED_CYCLES not in ARM_CORES[part].events


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name"),
    [
        ("GenuineIntel", 6, 190, "Gracemont (N100)"),
        ("GenuineIntel", 6, 85, "Skylake"),
        ("AuthenticAMD", 23, 49, "Zen 2"),
        ("AuthenticAMD", 25, 33, "Zen 3"),
        ("AuthenticAMD", 25, 97, "Zen 4"),
    ],
)
def test_x86_cores_are_told_by_vendor_family_and_model(tmp_path, vendor, family, model, name):
    root = machine(tmp_path, X86.format(vendor, family, model))
    assert find_core(frozenset({0}), root).name == name


def test_an_unknown_core_is_named_and_not_guessed(tmp_path):
    root = machine(tmp_path, arm("0xd0b", implementer="0x51"))
    assert "implementer 0x51, part 0xd0b" in find_core(frozenset({0}), root)


@pytest.mark.parametrize("text", ["", "processor : 0\n", X86.format("GenuineIntel", "six", "?")])
def test_a_cpuinfo_without_a_core_is_said(tmp_path, text):
    assert "does not name the core" in find_core(frozenset({0}), machine(tmp_path, text))
