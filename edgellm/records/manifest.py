"""What a stage folder and a bundle say about themselves.

History of the formats:
    stage 1, bundle 1: first version.
    bundle 2: the work of each stage of the graph.
    bundle 3: the target it was made for, and the wheels that it carries.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from edgellm.records import codec, folder
from edgellm.records.folder import FileEntry
from edgellm.records.views import StageWork
from edgellm.records.wheels import Wheel

STAGE_FILE = folder.STAGE_FILE
MANIFEST_FILE = folder.MANIFEST_FILE
MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
GOLDEN_FILE = "golden.json"
RUNNER_FILE = "runner.pyz"
INSTALL_FILE = "install"
WHEELS_FOLDER = "wheels"

Upgrades = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class KVLayout:
    """Shape of the key-value cache: per layer, ``(batch, kv_heads, context, head_dim)``."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: Literal["float32", "float16"]
    max_context: int

    def bytes(self, context: int, batch: int = 1) -> int:
        """Return the bytes of keys and values for ``context`` tokens."""
        width = {"float32": 4, "float16": 2}[self.dtype]
        return 2 * self.layers * batch * self.kv_heads * context * self.head_dim * width


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What whoever runs the graph must know about it.

    ``route`` names the graph's inputs and outputs:

    ``fused``
        ``input_ids`` (batch, n) int64, ``seqlens_k`` (batch,) int32 = tokens after this call - 1,
        ``total_sequence_length`` () int32 = tokens after this call, ``logits_from`` (1,) int64 =
        first position of this call whose logits are wanted, ``past_key_values.I.key|value`` as
        :class:`KVLayout`; outputs ``logits`` (batch, n - logits_from, vocab) float32 and
        ``present.I.key|value``, which may be the same memory as the past.
    ``standard``
        optimum's export: ``input_ids``, ``attention_mask``, ``position_ids`` (int64) and growing
        ``past_key_values``; ``logits`` for every position. The slow path.
    """

    name: str
    architecture: str
    task: str
    vocab_size: int
    hidden_size: int
    kv: KVLayout
    route: Literal["fused", "standard"]
    bos_token_id: int | None
    stop_token_ids: tuple[int, ...]
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a model's history.

    Attributes:
        action: ``export``, ``prune``, ``quantize`` or ``bundle``.
        parameters: What the step was asked to do, including its source for ``export``.
        measured: What it found: parity, refit error, what was left in float.
        versions: Tool name to version.
        input_digest: Digest of the folder that it read; None for ``export``.
    """

    action: str
    parameters: Mapping[str, Any]
    measured: Mapping[str, Any]
    versions: Mapping[str, str]
    input_digest: str | None = None


@dataclass(frozen=True, slots=True)
class StageRecord:
    """``stage.json``: a model between two commands."""

    KIND: ClassVar[str] = "stage"
    SCHEMA: ClassVar[int] = 1
    UPGRADES: ClassVar[Upgrades] = {}

    model: ModelFacts
    provenance: tuple[Step, ...]
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the record, which holds the digest of every file: the folder's identity."""
        return hashlib.sha256(codec.dumps(self).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChatRole:
    """Text around the content of one role's message."""

    prefix: str
    suffix: str


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template as a table, so that a board applies it without a template engine.

    Rendering is ``start``, then ``prefix + content + suffix`` per message, then
    ``generation_prompt``. ``default_system`` is the system message that the template adds where
    the conversation has none.
    """

    start: str
    roles: Mapping[str, ChatRole]
    generation_prompt: str
    default_system: str | None = None
    strips_content: bool = False

    def render(self, messages: tuple[tuple[str, str], ...]) -> str:
        """Return the prompt text for ``(role, content)`` pairs, ready for the model's answer.

        Raises:
            KeyError: A role that the template does not know.
        """
        if self.default_system is not None and (not messages or messages[0][0] != "system"):
            messages = (("system", self.default_system), *messages)
        parts = [self.start]
        for role, content in messages:
            around = self.roles[role]
            text = content.strip() if self.strips_content else content
            parts += [around.prefix, text, around.suffix]
        return "".join([*parts, self.generation_prompt])


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """``manifest.json``: written last, so a bundle without it is unfinished.

    ``requires`` maps what the board needs (``python``, ``onnxruntime``, ...) to a version range;
    ``quality`` is what ``evaluate`` stored, or empty; ``work`` what each stage of the graph must
    move and compute, empty where the graph has no stages; ``target`` is the id of the board that
    it was made for, None for any; ``wheels`` are what ``install`` unpacks there.
    """

    KIND: ClassVar[str] = "bundle"
    SCHEMA: ClassVar[int] = 3
    UPGRADES: ClassVar[Upgrades] = {1: dict, 2: dict}  # what is new has a default

    model: ModelFacts
    provenance: tuple[Step, ...]
    files: tuple[FileEntry, ...]
    requires: Mapping[str, str]
    chat: ChatTemplate | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    work: tuple[StageWork, ...] = ()
    target: str | None = None
    wheels: tuple[Wheel, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the digest of every file."""
        return hashlib.sha256(codec.dumps(self).encode()).hexdigest()
