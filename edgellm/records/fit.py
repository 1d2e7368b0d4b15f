"""Whether a machine can run a bundle: said before anything is copied, unpacked or opened.

Facts in, sentences out. The facts come from the machine itself, from a probe over ssh, or from a
target; what nobody knows is None and is not held against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgellm.errors import DoesNotFit
from edgellm.records.manifest import TOKENIZER_FILE, WEIGHTS_FILE, BundleManifest
from edgellm.records.target import Target
from edgellm.records.wheels import Wheel, version

MIB = 1 << 20

# A question, and the 256 tokens that ``run`` answers with unless told otherwise.
DEFAULT_CONTEXT = 512
CONTEXT_STEP = 64  # contexts are proposed in such steps
# What a system takes for itself where only the installed memory is known. An assumption: the
# kernel, the firmware's share and the services of a system without a desktop.
SYSTEM_BYTES = 192 * MIB

# Measured by scripts/check_fit, with onnxruntime 1.32, on x86-64.
PACKAGES_BYTES = 56 * MIB  # Python with numpy, onnxruntime and tokenizers imported
TOKENIZER_FACTOR = 21  # memory of a tokenizer / size of its file
SCRATCH_BYTES = 26 * MIB  # activations, arenas and stacks
SCRATCH_TOKEN_BYTES = 7 << 10  # and attention's, for each token of context
LOADING_BYTES = 15 * MIB  # while the last weights are packed
ROW_BYTES = 128 << 10  # a token's row and its scales, each with the 16 pages that Linux maps around
CHUNK_TOKENS = 128  # the session's PREFILL_CHUNK_TOKENS, whose logits the standard route returns

NARROW = ("armv6l", "armv7l", "armv8l", "i386", "i686")  # kernels without 64-bit programs
# What the packages were compiled for: the ARMv8 of every 64-bit board, and x86-64-v2 (numpy 2.4).
BASELINE = {"aarch64": ("asimd",), "x86_64": ("sse4_2",)}

# Bits of a weight with its scale, in blocks of 32 and more.
INT8_BITS, INT4_BITS, FLOAT_BITS = 8.25, 4.5, 32.0

Aspect = Literal["system", "python", "glibc", "features", "disk", "memory"]


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What a machine is and has.

    Attributes:
        name: For messages.
        arch: As ``uname -m`` says, such as ``aarch64``.
        bits: Of a pointer in its Python: 64, or 32 also where only the kernel has 64.
        python: Its version, such as ``3.11.2``.
        glibc: Its version, such as ``2.36``; empty where the C library is another.
        features: SIMD features by the kernel's names.
        memory_bytes: Installed.
        memory_available_bytes: What programs could have now without swapping.
        disk_free_bytes: Where bundles and packages would lie.
    """

    name: str = "this machine"
    arch: str | None = None
    bits: int | None = None
    python: str | None = None
    glibc: str | None = None
    features: tuple[str, ...] = ()
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    disk_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The most memory that a process takes which runs a bundle, in bytes.

    Attributes:
        weights: Mapped or packed; of an embedding, the rows that a context can touch.
        cache: Keys and values of a full context.
        runtime: Python, its packages, the tokenizer, activations.
    """

    weights: int
    cache: int
    runtime: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.runtime


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit, as one sentence with the number and the nearest that would."""

    aspect: Aspect
    sentence: str


def target_facts(target: Target) -> BoardFacts:
    """Return what a target says; of several Pythons the newest."""
    pythons = sorted(target.software.python, key=version)
    return BoardFacts(
        name=target.name,
        arch=target.arch,
        bits=64,
        python=pythons[-1] if pythons else None,
        glibc=target.software.glibc,
        features=target.features,
        memory_bytes=target.memory.bytes,
    )


def memory_need(manifest: BundleManifest, context: int) -> MemoryNeed:
    """Estimate the peak of resident memory, within 10 % of what was measured.

    It is reached in one of two moments: while the largest weights are packed (their packed copy
    is there beside what they came from), or when the context is full.

    Args:
        manifest: Of the bundle.
        context: Tokens in the cache.
    """
    sizes = {entry.path: entry.bytes for entry in manifest.files}
    weights = sizes.get(WEIGHTS_FILE, 0)
    if manifest.work:  # of what is not read at every call, the embedding, a short text needs little
        read = sum(stage.weight_bytes for stage in manifest.work)
        weights = min(weights, read + ROW_BYTES * context)
    cache = manifest.model.kv.bytes(context)
    runtime = PACKAGES_BYTES + TOKENIZER_FACTOR * sizes.get(TOKENIZER_FILE, 0)
    running = SCRATCH_BYTES + SCRATCH_TOKEN_BYTES * context
    if manifest.model.route == "standard":  # the cache is copied, and every position has logits
        running += cache + 4 * CHUNK_TOKENS * manifest.model.vocab_size
    largest = max((stage.weight_bytes for stage in manifest.work), default=0)
    loading = LOADING_BYTES + largest
    return MemoryNeed(weights, cache, runtime + max(running, loading - cache))


def check(
    facts: BoardFacts,
    manifest: BundleManifest,
    *,
    context: int | None = None,
    disk_bytes: int | None = None,
) -> tuple[Misfit, ...]:
    """Say what of a machine does not fit a bundle.

    Args:
        facts: Of the machine.
        manifest: Of the bundle.
        context: Tokens that must fit; a short conversation (:data:`DEFAULT_CONTEXT`) where None.
        disk_bytes: What still has to be written there; the bundle and its packages where None.

    Returns:
        Nothing where it fits; else what is wrong, what is wrong with the system first.
    """
    if facts.bits == 32 or facts.arch in NARROW:
        return (Misfit("system", _too_narrow(facts)),)
    context = min(context or DEFAULT_CONTEXT, manifest.model.kv.max_context)
    wanted = disk_needed(manifest, facts.python) if disk_bytes is None else disk_bytes
    return (
        *_software(facts, manifest),
        *_features(facts),
        *_disk(facts, wanted),
        *memory(facts, manifest, context),
    )


def demand(
    facts: BoardFacts,
    manifest: BundleManifest,
    *,
    context: int | None = None,
    disk_bytes: int | None = None,
) -> None:
    """Refuse a machine that :func:`check` finds something about.

    Raises:
        DoesNotFit: The first thing that does not fit, in its sentence.
    """
    for misfit in check(facts, manifest, context=context, disk_bytes=disk_bytes):
        raise DoesNotFit(misfit.sentence)


def disk_needed(manifest: BundleManifest, python: str | None = None) -> int:
    """Return the bytes of a bundle and of the packages that ``install`` unpacks for a Python."""
    unpacked = [w.installed_bytes for w in manifest.wheels if python is None or w.takes(python)]
    return sum(entry.bytes for entry in manifest.files) + sum(unpacked)


def _too_narrow(facts: BoardFacts) -> str:
    return (
        f"onnxruntime needs a 64-bit system, and the Python of {facts.name} is a 32-bit one "
        f"({facts.arch}): install the 64-bit image of its system"
    )


def _software(facts: BoardFacts, manifest: BundleManifest) -> Iterator[Misfit]:
    wheels = manifest.wheels
    oldest = manifest.requires.get("python", "").removeprefix(">=")
    if facts.arch and wheels and facts.arch not in {wheel.arch for wheel in wheels}:
        yield Misfit(
            "system",
            f"the bundle is made for {manifest.target or wheels[0].arch} ({wheels[0].arch}), and "
            f"{facts.name} is {facts.arch}: make one for it by edgellm bundle --target",
        )
    elif facts.python and version(facts.python) < version(oldest):
        yield Misfit(
            "python",
            f"{facts.name} has Python {facts.python}, and {oldest} or newer is needed: "
            "install a newer system, such as Debian 12",
        )
    elif facts.python and wheels and not any(wheel.takes(facts.python) for wheel in _exact(wheels)):
        there = " and ".join(sorted({wheel.python for wheel in _exact(wheels)}, key=version))
        yield Misfit(
            "python",
            f"{facts.name} has Python {facts.python}, and the bundle brings packages for {there}: "
            "make it again for a target that names this Python",
        )
    else:
        yield from _c_library(facts, wheels)


def _exact(wheels: tuple[Wheel, ...]) -> list[Wheel]:
    """Return the wheels that need one certain Python; those for any newer one decide nothing."""
    return [wheel for wheel in wheels if wheel.abi != "abi3"] or list(wheels)


def _c_library(facts: BoardFacts, wheels: tuple[Wheel, ...]) -> Iterator[Misfit]:
    newest = max(wheels, key=lambda wheel: version(wheel.glibc), default=None)
    if facts.glibc is None or newest is None:
        return
    if not facts.glibc or version(facts.glibc) < version(newest.glibc):
        here = f"glibc {facts.glibc}" if facts.glibc else "another C library than glibc"
        yield Misfit(
            "glibc",
            f"{facts.name} has {here}, and {newest.name} {newest.version} needs glibc "
            f"{newest.glibc} or newer: install a newer system, such as Debian 12",
        )


def _features(facts: BoardFacts) -> Iterator[Misfit]:
    for feature in BASELINE.get(facts.arch or "", ()):
        if facts.features and feature not in facts.features:
            yield Misfit(
                "features",
                f"the core of {facts.name} lacks {feature}, which the packages are compiled for: "
                "take a machine that has it",
            )


def _disk(facts: BoardFacts, wanted: int) -> Iterator[Misfit]:
    free = facts.disk_free_bytes
    if free is not None and free < wanted:
        yield Misfit(
            "disk",
            f"{_mib(wanted)} are to be written and {_mib(free)} of the disk of {facts.name} are "
            f"free: free {_mib(wanted - free)} there, or make the bundle with fewer bits",
        )


def memory(facts: BoardFacts, manifest: BundleManifest, context: int) -> Iterator[Misfit]:
    """Yield what of :func:`check` concerns memory, at a context of so many tokens."""
    room, said = _room(facts)
    need = memory_need(manifest, context)
    if room is None or need.total <= room:
        return
    yield Misfit(
        "memory",
        f"{manifest.model.name} needs {_mib(need.total)} of memory at a context of {context} "
        f"tokens (weights {_mib(need.weights)}, cache {_mib(need.cache)}, runtime "
        f"{_mib(need.runtime)}) and {said}: {_nearest(manifest, room, context)}",
    )


def _room(facts: BoardFacts) -> tuple[int | None, str]:
    """Return the bytes that a program can have, and how to say it."""
    if facts.memory_available_bytes is not None:
        room = facts.memory_available_bytes
        return room, f"{_mib(room)} of {facts.name} are available"
    if facts.memory_bytes is not None:
        room = facts.memory_bytes - SYSTEM_BYTES
        return room, f"{facts.name} has {_mib(room)} beside its system"
    return None, ""


def _nearest(manifest: BundleManifest, room: int, context: int) -> str:
    """Say what would fit: a shorter context, else fewer bits, else how large weights may be."""
    fitting = range(CONTEXT_STEP, context, CONTEXT_STEP)
    shorter = [tokens for tokens in fitting if memory_need(manifest, tokens).total <= room]
    if shorter:
        return f"{shorter[-1]} tokens fit (--context {shorter[-1]})"
    need = memory_need(manifest, min(DEFAULT_CONTEXT, manifest.model.kv.max_context))
    allowed = room - need.cache - need.runtime
    smaller = int4_bytes(manifest)
    if smaller is not None and smaller <= allowed:
        return f"int4 fits, its weights are about {_mib(smaller)} (--scheme int4)"
    if allowed > 0:
        return f"weights of up to {_mib(allowed)} fit, so prune it or take a smaller model"
    return "no model fits there"


def int4_bytes(manifest: BundleManifest) -> int | None:
    """Estimate the weights at 4 bits, with head and embedding at 8; None where they are there."""
    bits = FLOAT_BITS
    for step in manifest.provenance:
        if step.action == "quantize":
            bits = float(step.parameters.get("bits") or bits)
    if bits <= 4:
        return None
    scaled = bits + (INT8_BITS - 8 if bits == 8 else 0)
    weights = sum(entry.bytes for entry in manifest.files if entry.path == WEIGHTS_FILE)
    layers = sum(s.weight_bytes for s in manifest.work if s.stage.startswith("layers."))
    layers = layers or weights
    return round(layers * INT4_BITS / scaled + (weights - layers) * min(1, INT8_BITS / scaled))


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
