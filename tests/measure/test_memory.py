from edgellm.measure import memory

STATUS = "Name:\tpython\nVmHWM:\t    1776 kB\nVmRSS:\t    1700 kB\n"


def machine(tmp_path, status):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(status)
    return tmp_path


def test_the_peak_is_read_in_bytes(tmp_path):
    root = machine(tmp_path, STATUS)
    assert memory.peak_rss_bytes(root) == 1776 * 1024
    assert memory.rss_bytes(root) == 1700 * 1024


def test_without_the_kernels_peak_the_process_accounts_for_it(tmp_path):
    assert memory.peak_rss_bytes(machine(tmp_path, "Name:\tpython\n")) > 1 << 20


def test_a_garbled_line_is_unknown_not_zero(tmp_path):
    assert memory.rss_bytes(machine(tmp_path, "VmRSS:\t  soon kB\n")) is None


def test_a_reset_that_is_refused_is_told(tmp_path):
    assert not memory.reset_peak(tmp_path)
    (tmp_path / "proc/self").mkdir(parents=True)
    assert memory.reset_peak(tmp_path)
    assert (tmp_path / "proc/self/clear_refs").read_text() == "5"
