import dataclasses
import re

import pytest

from edgellm.errors import DoesNotFit
from edgellm.records import fit
from edgellm.records.fit import MIB, BoardFacts
from edgellm.records.folder import FileEntry
from edgellm.records.manifest import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    BundleManifest,
    KVLayout,
    ModelFacts,
    Step,
)
from edgellm.records.target import Memory, Software, Target
from edgellm.records.views import StageWork
from edgellm.records.wheels import parse

WHEELS = tuple(
    dataclasses.replace(parse(f"wheels/{name}"), installed_bytes=40 * MIB)
    for name in (
        "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "onnxruntime-1.32.0-cp313-cp313-manylinux_2_28_aarch64.whl",
        "tokenizers-0.23.3-cp310-abi3-manylinux_2_17_aarch64.whl",
    )
)
BOARD = BoardFacts(
    name="pi",
    arch="aarch64",
    bits=64,
    python="3.11.2",
    glibc="2.36",
    features=("fp", "asimd", "crc32"),
    memory_bytes=4096 * MIB,
    memory_available_bytes=3500 * MIB,
    disk_free_bytes=8000 * MIB,
)


def bundle(weights=140, bits=8, **changes):
    """Return the manifest of a model with so many MiB of weights and 0.5 MiB of cache a token."""
    manifest = BundleManifest(
        model=ModelFacts(
            name="smol",
            architecture="llama",
            task="text-generation",
            vocab_size=1000,
            hidden_size=64,
            kv=KVLayout(32, 8, 256, "float32", 8192),
            route="fused",
            bos_token_id=None,
            stop_token_ids=(),
        ),
        provenance=(Step("quantize", {"bits": bits}, {}, {}),),
        files=(
            FileEntry(WEIGHTS_FILE, weights * MIB, ""),
            FileEntry(TOKENIZER_FILE, MIB, ""),
        ),
        requires={"python": ">=3.11"},
        wheels=WHEELS,
    )
    return dataclasses.replace(manifest, **changes)


def sentence(manifest=None, context=None, disk_bytes=None, **facts):
    """Return the only thing that is wrong."""
    board = dataclasses.replace(BOARD, **facts)
    found = fit.check(board, manifest or bundle(), context=context, disk_bytes=disk_bytes)
    (misfit,) = found
    return f"{misfit.aspect}: {misfit.sentence}"


def test_a_board_that_has_everything_fits():
    assert fit.check(BOARD, bundle()) == ()


def test_what_nobody_knows_is_not_held_against_a_board():
    assert fit.check(BoardFacts(), bundle()) == ()


@pytest.mark.parametrize("facts", [{"bits": 32}, {"bits": None, "arch": "armv7l"}])
def test_pain_05_a_32_bit_system_is_all_that_is_said(facts):
    text = sentence(python="3.7", glibc="2.24", disk_free_bytes=0, **facts)

    assert "64-bit system" in text
    assert "64-bit image" in text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"arch": "x86_64", "features": ()},
            "system: the bundle is made for aarch64 .* pi is x86_64",
        ),
        ({"python": "3.9.2"}, r"python: pi has Python 3\.9\.2, and 3\.11 or newer"),
        ({"python": "3.12.1"}, r"python: pi has Python 3\.12\.1, .* for 3\.11 and 3\.13"),
        ({"features": ("fp",)}, "features: the core of pi lacks asimd"),
        ({"disk_free_bytes": 100 * MIB}, "disk: 221 MiB are to be written and 100 MiB .* 121 MiB"),
    ],
)
def test_the_sentence_names_what_does_not_fit(facts, said):
    text = sentence(**facts)

    assert re.match(said, text), text


@pytest.mark.parametrize(
    ("glibc", "said"), [("2.27", "has glibc 2.27"), ("", "another C library than glibc")]
)
def test_pain_07_a_c_library_older_than_the_wheels_is_named(glibc, said):
    text = sentence(glibc=glibc)

    assert said in text
    assert "onnxruntime 1.32.0 needs glibc 2.28" in text


def test_only_what_is_still_missing_needs_room_on_the_disk():
    assert fit.check(dataclasses.replace(BOARD, disk_free_bytes=10), bundle(), disk_bytes=9) == ()


def test_pain_18_a_model_larger_than_memory_is_refused_with_what_would_fit():
    text = sentence(bundle(weights=5000), memory_available_bytes=4000 * MIB)

    assert text.startswith("memory: smol needs 5")
    assert "4000 MiB of pi are available" in text
    assert "int4 fits, its weights are about 2727 MiB" in text


def test_pain_18_a_long_context_is_refused_with_the_longest_that_fits():
    text = sentence(context=8192, memory_available_bytes=1500 * MIB)

    tokens = int(text.rpartition("--context ")[2].rstrip(")"))
    board = dataclasses.replace(BOARD, memory_available_bytes=1500 * MIB)
    assert tokens % fit.CONTEXT_STEP == 0
    assert fit.check(board, bundle(), context=tokens) == ()
    assert fit.check(board, bundle(), context=tokens + fit.CONTEXT_STEP) != ()


def test_what_cannot_be_quantized_further_says_how_large_it_may_be():
    text = sentence(bundle(weights=5000, bits=4), memory_available_bytes=4000 * MIB)

    assert "MiB fit, so prune it or take a smaller model" in text


def test_the_head_keeps_its_8_bits_where_the_rest_goes_to_4():
    work = (StageWork("layers.0.attention", 80 * MIB), StageWork("head", 20 * MIB))

    small = fit.int4_bytes(bundle(weights=100, work=work))

    assert small == round(80 * MIB * 4.5 / 8.25) + 20 * MIB


def test_packing_the_largest_weights_may_be_the_peak():
    plain = fit.memory_need(bundle(), 64)
    work = (StageWork("head", 140 * MIB),)

    packed = fit.memory_need(bundle(work=work), 64)

    assert packed.total - plain.total > 60 * MIB
    assert (packed.weights, packed.cache) == (plain.weights, plain.cache)


def test_a_short_text_touches_few_rows_of_an_embedding():
    work = (StageWork("head", 100 * MIB),)
    few, all_of_them = (fit.memory_need(bundle(work=work), tokens) for tokens in (8, 8192))

    assert few.weights == 101 * MIB
    assert all_of_them.weights == 140 * MIB


def test_the_first_thing_that_does_not_fit_is_the_error():
    with pytest.raises(DoesNotFit, match=r"Python 3\.9"):
        fit.demand(dataclasses.replace(BOARD, python="3.9.2", disk_free_bytes=0), bundle())


def test_a_target_is_a_board_that_says_less():
    target = Target(
        "zero",
        "Zero",
        "aarch64",
        memory=Memory(bytes=512 * MIB),
        software=Software(python=("3.9", "3.13"), glibc="2.36"),
    )

    facts = fit.target_facts(target)

    assert (facts.python, facts.glibc, facts.disk_free_bytes) == ("3.13", "2.36", None)
    (misfit,) = fit.check(facts, bundle(weights=400))
    assert "Zero has 320 MiB beside its system" in misfit.sentence
