"""What tests of several packages build: a report with known samples, and a tiny model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from edgellm.export.architectures import ARCHITECTURES, DecoderShape
from edgellm.export.decoder import build_decoder
from edgellm.graph.stage_folder import finish_stage, save_graph
from edgellm.records.machine import Environment, MachineState, Memory
from edgellm.records.manifest import (
    CHAT_TEMPLATE_FILE,
    TOKENIZER_FILE,
    KVLayout,
    ModelFacts,
    Step,
)
from edgellm.records.report import BundleFacts, Report, Workload
from edgellm.records.samples import CounterInfo, CounterSample, StageSamples, Unavailable

MS = 1_000_000
RATE_HZ = 2e9

STATE = MachineState(
    load_average=0.1,
    memory_available_bytes=4 << 30,
    swap_used_bytes=0,
    frequency_hz={"policy0": 1_800_000_000},
    temperature_celsius={"0 cpu": 48.5},
)
ENVIRONMENT = Environment(
    kernel="6.12.1",
    machine="aarch64",
    cpu_model="Cortex-A72",
    board="Test Board 4",
    virtual=False,
    cores=4,
    affinity=(0, 1, 2, 3),
    memory_bytes=8 << 30,
    policies=(),
    versions={"onnxruntime": "1.32.0"},
    before=STATE,
    after=STATE,
)
REFERENCE = CounterInfo("reference_cycles", "TSC, rate from a test", rate_hz=RATE_HZ)


def _stage(name: str, tokens: int, wall_ms: Sequence[float], steps: int = 1) -> StageSamples:
    wall = tuple(round(ms * MS) for ms in wall_ms)
    return StageSamples(
        stage=name,
        tokens=tokens,
        wall_ns=wall,
        step_ns=tuple((ns // steps,) * steps for ns in wall) if steps > 1 else (),
        counters={
            "reference_cycles": tuple(
                CounterSample(round(ns * RATE_HZ / 1e9), ns, ns) for ns in wall
            )
        },
    )


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Build a report of 64 prompt and 3 output tokens.

    ``prefill_ms`` has one time per repetition; a decode step takes a tenth of it. Any other
    keyword replaces a field of the report.
    """

    def make(prefill_ms: Sequence[float] = (100, 101, 99, 100, 102), **fields: object) -> Report:
        n = len(prefill_ms)
        report = Report(
            tool_version="0.1.0",
            started_utc="2026-01-02T03:04:05+00:00",
            bundle=BundleFacts("tiny", "ab" * 32, 100 << 20),
            workload=Workload(64, 3, 67, 4, 1, n, "cd" * 32),
            environment=ENVIRONMENT,
            counters=(REFERENCE,),
            stages=(
                _stage("load", 0, [250]),
                _stage("tokenize", 64, [1] * n),
                _stage("prefill", 64, prefill_ms),
                _stage("decode", 2, [ms / 5 for ms in prefill_ms], steps=2),
                _stage("sample", 3, [0.3] * n, steps=3),
                _stage("detokenize", 3, [0.2] * n),
            ),
            memory=Memory(150 << 20, 120 << 20, 1 << 20),
            output_sha256=("ef" * 32,) * n,
            unavailable=(
                Unavailable("cycles", "no counter in a test (ENOENT)"),
                Unavailable("instructions", "no counter in a test (ENOENT)"),
            ),
        )
        return dataclasses.replace(report, **fields)  # type: ignore[arg-type]

    return make


class RandomWeights:
    """Seeded weights of a decoder, by their Hugging Face names."""

    def __init__(self, shape: DecoderShape) -> None:
        rng = np.random.default_rng(0)
        kv, wide = shape.kv_heads * shape.head_dim, 2 * shape.hidden
        sizes = {"model.embed_tokens.weight": (shape.vocab, shape.hidden)}
        for i in range(shape.layers):
            layer = f"model.layers.{i}"
            sizes |= {
                f"{layer}.self_attn.q_proj.weight": (shape.heads * shape.head_dim, shape.hidden),
                f"{layer}.self_attn.k_proj.weight": (kv, shape.hidden),
                f"{layer}.self_attn.v_proj.weight": (kv, shape.hidden),
                f"{layer}.self_attn.o_proj.weight": (shape.hidden, shape.heads * shape.head_dim),
                f"{layer}.mlp.gate_proj.weight": (wide, shape.hidden),
                f"{layer}.mlp.up_proj.weight": (wide, shape.hidden),
                f"{layer}.mlp.down_proj.weight": (shape.hidden, wide),
                f"{layer}.input_layernorm.weight": (shape.hidden,),
                f"{layer}.post_attention_layernorm.weight": (shape.hidden,),
            }
        sizes["model.norm.weight"] = (shape.hidden,)
        self._tensors = {
            name: rng.normal(1 if len(size) == 1 else 0, 0.2, size).astype(np.float32)
            for name, size in sizes.items()
        }

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def read(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]

    def stored_as(self, name: str) -> str:
        return "F32"


TINY = DecoderShape(
    layers=2,
    hidden=32,
    heads=2,
    kv_heads=1,
    head_dim=16,
    vocab=258,
    max_context=128,
    norm_epsilon=1e-5,
    tied=True,
    window=None,
    rope_theta=10000.0,
    rope_scaling=None,
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """Give a tokenizer with a token per byte and two special ones, 256 and 257."""
    vocab = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocab, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


@pytest.fixture(scope="session")
def tiny_stage(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Tokenizer) -> Path:
    """Give a stage folder of a random decoder of 2 layers over bytes; read it only."""
    folder = tmp_path_factory.mktemp("stage")
    facts = ModelFacts(
        name="tiny",
        architecture="llama",
        task="text-generation",
        vocab_size=TINY.vocab,
        hidden_size=TINY.hidden,
        kv=KVLayout(TINY.layers, TINY.kv_heads, TINY.head_dim, "float32", TINY.max_context),
        route="fused",
        bos_token_id=None,
        stop_token_ids=(257,),
    )
    save_graph(build_decoder("tiny", ARCHITECTURES["llama"], TINY, RandomWeights(TINY)), folder)
    byte_tokenizer.save(str(folder / TOKENIZER_FILE))
    (folder / CHAT_TEMPLATE_FILE).write_text(CHATML)
    finish_stage(folder, facts, (Step("export", {"source": "random"}, {}, {}),))
    return folder


@pytest.fixture(scope="session")
def byte_tokenizer_json(byte_tokenizer: Tokenizer) -> str:
    """Give the text of the byte tokenizer's ``tokenizer.json``."""
    return byte_tokenizer.to_str()


@pytest.fixture
def calibration_file(tmp_path: Path) -> Path:
    """Give a text just long enough to calibrate on."""
    path = tmp_path / "calibration.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 24)
    return path


MACHINES = Path(__file__).parent / "data/machines"
FIRMWARE = "vcgencmd "


@dataclasses.dataclass(frozen=True)
class Machine:
    """A recorded machine: where its files lie, and what its firmware answers."""

    root: Path
    answers: dict[str, str]

    def ask(self, question: str) -> str | None:
        return self.answers.get(question)


@pytest.fixture
def unpack_machine(tmp_path: Path) -> Callable[[str], Machine]:
    """Unpack a machine of ``data/machines``: ``== PATH`` before each file's text."""

    def unpack(name: str) -> Machine:
        root, answers = tmp_path / name, {}
        _origin, *files = (MACHINES / name / "machine.txt").read_text().split("\n== ")
        for file in files:
            path, _, text = file.partition("\n")
            if path.startswith(FIRMWARE):
                answers[path.removeprefix(FIRMWARE)] = text
            else:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
        return Machine(root, answers)

    return unpack
