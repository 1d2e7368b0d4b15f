import pytest

from edgellm.measure import throttle


def never(question):
    raise AssertionError(f"asked the firmware for {question}")


def pi(root):
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B\0")
    return root


def kernel_says(root, text):
    path = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ()),
        (0x1, ("under-voltage now",)),
        (0x8, ("soft temperature limit now",)),
        (0xF0000, tuple(f"{word} since boot" for word in throttle.BITS.values())),
        (0x1000, ()),
    ],
)
def test_the_firmwares_bits_are_put_in_words(bits, words):
    assert throttle.words(bits) == words


def test_pain_27_the_kernels_file_says_it_where_the_firmwares_program_is_missing(tmp_path):
    kernel_says(pi(tmp_path), "50005\n")
    assert throttle.read(tmp_path, never) == {"firmware": 0x50005}


def test_pain_27_without_that_file_a_raspberry_pi_is_asked(tmp_path):
    assert throttle.read(pi(tmp_path), lambda question: "throttled=0x20002") == {
        "firmware": 0x20002
    }


@pytest.mark.parametrize("answer", [None, "", "error=2", "throttled="])
def test_an_answer_that_is_none_is_left_out(tmp_path, answer):
    assert throttle.read(pi(tmp_path), lambda question: answer) == {}


def test_another_board_is_not_asked(tmp_path):
    assert throttle.read(tmp_path, never) == {}


def test_a_file_that_returns_garbage_is_left_out(tmp_path):
    kernel_says(tmp_path, "none\n")
    assert throttle.read(tmp_path, never) == {}


def test_events_are_added_over_the_cores(tmp_path):
    for core, count in enumerate((2, 0, 3)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    found = throttle.read(tmp_path, never)
    assert found == {"core throttle events": 5}
    assert throttle.describe(found) == ("5 core throttle events since boot",)
