"""Which kernel a scheme gives a matmul."""

import pytest

from edgellm.quantize.scheme import FLOAT, Kernel, Scheme, unnumbered

ROWS, BLOCKS, FOUR = Kernel("rows", 8), Kernel("blocks", 8), Kernel("blocks", 4)
MIXED = Scheme(
    "mixed",
    "blocks",
    4,
    layers={
        "attention": BLOCKS,
        "feed_forward.down": ROWS,
        "layers.1.feed_forward.down": FLOAT,
        "head": ROWS,
    },
)


@pytest.mark.parametrize(
    ("stage", "name", "kernel"),
    [
        ("layers.0.attention", "layers.0.attention.qkv", BLOCKS),
        ("layers.0.feed_forward", "layers.0.feed_forward.gate_up", FOUR),
        ("layers.0.feed_forward", "layers.0.feed_forward.down", ROWS),
        ("layers.1.feed_forward", "layers.1.feed_forward.down", FLOAT),
        ("layers.11.feed_forward", "layers.11.feed_forward.down", ROWS),
        ("head", "head.logits", ROWS),
        ("embedding", "", ROWS),
        ("", "/model/layers.0/q_proj/MatMul", FOUR),
    ],
)
def test_the_longest_key_that_fits_decides(stage: str, name: str, kernel: Kernel) -> None:
    assert MIXED.kernel(stage, name) == kernel


def test_head_and_embedding_have_bits_of_their_own_where_nothing_names_them() -> None:
    scheme = Scheme("int4", "blocks", 4, layers={"embedding": FLOAT})

    assert scheme.kernel("head", "head.logits") == BLOCKS
    assert scheme.kernel("embedding") == FLOAT


def test_any_4_bit_blocks_are_compensated_unless_carried() -> None:
    assert MIXED.compensates
    assert Scheme("x", "rows", 8, layers={"attention": FOUR}).compensates
    assert not Scheme("x", "rows", 8, layers={"attention": BLOCKS}).compensates
    assert not Scheme("x", "blocks", 4, carried=True).compensates


def test_a_name_loses_its_layer() -> None:
    assert unnumbered("layers.12.attention.qkv") == "attention.qkv"
    assert unnumbered("head.logits") == "head.logits"
