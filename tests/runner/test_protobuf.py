import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.runner.protobuf import fields, message, number

FEW = settings(deadline=None, derandomize=True, max_examples=60)
FIELD = st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300))


@FEW
@given(st.lists(FIELD, max_size=5))
def test_what_was_written_is_read_back(written):
    raw = [message(field, content) for field, content in written]

    read = list(fields(b"".join(raw)))

    assert [(field, content) for field, _, content in read] == written
    assert [part for _, part, _ in read] == raw


@FEW
@given(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1))
def test_a_number_has_no_content_and_ends_where_the_next_field_begins(field, value):
    raw = number(field, value)

    assert next(fields(raw + message(1, b"next"))) == (field, raw, b"")


@FEW
@given(st.lists(FIELD, min_size=1, max_size=3), st.data())
def test_a_cut_inside_a_field_is_refused(written, data):
    raw = [message(field, content) for field, content in written]
    whole, last = b"".join(raw), len(raw[-1])
    kept = data.draw(st.integers(len(whole) - last + 1, len(whole) - 1))

    with pytest.raises(ValueError, match="cut off"):
        list(fields(whole[:kept]))


def test_fields_of_a_fixed_size_are_stepped_over():
    fixed64, fixed32 = b"\x09" + b"\xff" * 8, b"\x15" + b"\xff" * 4

    read = list(fields(fixed64 + fixed32 + message(3, b"x")))

    assert read == [(1, fixed64, b""), (2, fixed32, b""), (3, b"\x1a\x01x", b"x")]


@pytest.mark.parametrize("cut_off", [b"\x09" + b"\xff" * 7, b"\x15" + b"\xff" * 3, b"\x80"])
def test_a_fixed_field_or_a_key_that_is_cut_off_is_refused(cut_off):
    with pytest.raises(ValueError, match="cut off"):
        list(fields(cut_off))


def test_a_wire_type_that_protobuf_does_not_have_is_named():
    with pytest.raises(ValueError, match="wire type 7 at byte 2"):
        list(fields(number(1, 5) + b"\x0f"))
