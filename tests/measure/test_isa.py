import pytest

from edgellm.measure.isa import isa_name, this_isa


@pytest.mark.parametrize(
    ("machine", "features", "name"),
    [
        ("aarch64", ("fp", "asimd", "crc32"), "aarch64"),
        ("aarch64", ("asimd", "asimdhp", "asimddp"), "aarch64+dotprod"),
        ("aarch64", ("asimd", "asimddp", "i8mm"), "aarch64+i8mm"),
        ("x86_64", ("avx2", "fma"), "x86_64+avx2"),
        ("x86_64", ("avx2", "avx_vnni"), "x86_64+vnni"),
        ("x86_64", ("avx2", "avx512_vnni", "amx_int8"), "x86_64+amx"),
        ("riscv64", ("v",), "riscv64"),
    ],
)
def test_arithmetic_is_named_by_the_best_instructions(machine, features, name):
    assert isa_name(machine, features) == name


def test_this_machine_has_a_name(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nFeatures : asimd asimddp\n")
    assert this_isa(tmp_path).startswith(("aarch64+dotprod", "x86_64", "arm"))
