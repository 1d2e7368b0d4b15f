import mmap

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


def test_what_is_resident_is_split_by_what_backs_it(tmp_path):
    root = machine(tmp_path, STATUS)
    rollup = (
        "55-7f ---p 00000000 00:00 0    [rollup]\nPss: 40 kB\nPss_Anon: 30 kB\nPss_File: 10 kB\n"
    )
    (root / "proc/self/smaps_rollup").write_text(rollup)
    assert memory.resident(root) == memory.Resident(40 * 1024, 30 * 1024, 10 * 1024)


def test_an_older_kernel_splits_what_is_resident(tmp_path):
    root = machine(tmp_path, STATUS + "RssAnon: 30 kB\nRssFile: 20 kB\n")
    assert memory.resident(root) == memory.Resident(None, 30 * 1024, 20 * 1024)


def test_a_kernel_that_says_nothing_leaves_it_unknown(tmp_path):
    assert memory.resident(tmp_path) == memory.Resident(None, None, None)


def test_touching_new_memory_faults_without_a_disk():
    before = memory.faults()
    fresh = mmap.mmap(-1, 64 * mmap.PAGESIZE)
    for page in range(64):
        fresh[page * mmap.PAGESIZE] = 1
    assert memory.faults().minor > before.minor
    assert memory.faults().major >= before.major
