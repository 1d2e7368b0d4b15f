import platform

from edgellm.measure.facts import board_facts


def test_a_machine_says_what_the_fit_check_asks(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 4096 kB\nMemAvailable: 1024 kB\n")
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nFeatures: fp asimd crc32\n")

    facts = board_facts(tmp_path / "not/there/yet", root=tmp_path)

    assert (facts.memory_bytes, facts.memory_available_bytes) == (4 << 20, 1 << 20)
    assert facts.features == ("fp", "asimd", "crc32")
    assert (facts.arch, facts.bits) == (platform.machine(), 64)
    assert facts.python == platform.python_version()
    assert facts.disk_free_bytes > 0


def test_what_the_kernel_does_not_say_is_none(tmp_path):
    facts = board_facts(tmp_path, root=tmp_path)

    assert (facts.memory_bytes, facts.memory_available_bytes, facts.features) == (None, None, ())
