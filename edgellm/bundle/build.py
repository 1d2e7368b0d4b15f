"""A stage folder becomes a bundle: model, tokenizer, golden tokens, runner, and a manifest."""

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tokenizers import Tokenizer

from edgellm.bundle import pack
from edgellm.bundle.chat import Derived, derive
from edgellm.bundle.golden import GOLDEN_TOKENS, make_golden, write_stages
from edgellm.bundle.kernels import kernel_libraries
from edgellm.bundle.runner_archive import runner_archive
from edgellm.bundle.wheels import choose, fetch
from edgellm.errors import UnsupportedModel, UsageError
from edgellm.graph.build import EDGELLM
from edgellm.graph.inspect import stage_work
from edgellm.graph.stage_folder import StageFolder, load_graph, open_stage, versions
from edgellm.graph.text import read_tokenizer
from edgellm.records import codec, fit, folder
from edgellm.records.folder import FileEntry
from edgellm.records.golden import STAGES_FILE
from edgellm.records.manifest import (
    CHAT_TEMPLATE_FILE,
    GOLDEN_FILE,
    INSTALL_FILE,
    MANIFEST_FILE,
    RUNNER_FILE,
    TOKENIZER_FILE,
    BundleManifest,
    ChatTemplate,
    Step,
)
from edgellm.records.progress import Progress, silent
from edgellm.records.quality import Quality
from edgellm.records.target import Target
from edgellm.records.wheels import Wheel
from edgellm.runner.requirements import DOMAINS, OPERATORS, REQUIRES
from edgellm.runner.text import prompt_ids

# Words, digits and another script: each takes another way through the tokenizer.
GOLDEN_PROMPTS = ("What is a clock cycle?", "1, 2, 3, 5, 8, 13,", "今天天气很好。")

MADE = (GOLDEN_FILE, STAGES_FILE, INSTALL_FILE, RUNNER_FILE)
# What a folder is installed by; the one-file form says "python3 FILE install".
INSTALL = """\
#!/bin/sh
# Unpack the packages that this bundle brings: no network, no root, and the system's Python
# stays as it is.
for python in python3 python3.11 python3.12 python3.13 python3.14; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$(dirname "$0")/runner.pyz" install "$@"
    fi
done
# None is new enough: the first one says so.
exec python3 "$(dirname "$0")/runner.pyz" install
"""


@dataclass(frozen=True, slots=True)
class Board:
    """What a bundle is made for.

    Attributes:
        target: The board; None for any machine that has the runner's packages.
        wheels: Bring those packages. Where None: for every Arm board, and for what is of another
            architecture than this machine.
        must_fit: Refuse a board that is too small for the bundle.
    """

    target: Target | None = None
    wheels: bool | None = None
    must_fit: bool = True

    def fetch(self, progress: Progress) -> Mapping[Wheel, Path]:
        """Return where each wheel lies that goes with the bundle.

        Raises:
            UsageError: Nobody said which board's.
            EdgellmError: One cannot be fetched.
        """
        if self.target is None:
            if self.wheels:
                raise UsageError("which wheels are needed depends on the board: add --target ID")
            return {}
        elsewhere = self.target.arch == "aarch64" or self.target.arch != platform.machine()
        wanted = elsewhere if self.wheels is None else self.wheels
        return fetch(choose(self.target), progress=progress) if wanted else {}

    def admit(self, manifest: BundleManifest) -> None:
        """Hold a bundle against the board.

        Raises:
            DoesNotFit: The board lacks memory for it, or another thing.
        """
        if self.target is not None and self.must_fit:
            fit.demand(fit.target_facts(self.target), manifest)


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle that was written.

    Attributes:
        path: The folder or file.
        manifest: What it says.
        note: What its user should know of the chat template; None where nothing.
    """

    path: Path
    manifest: BundleManifest
    note: str | None


def build_bundle(
    stage_path: Path,
    output: Path,
    *,
    board: Board | None = None,
    quality: Quality | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Built:
    """Write a bundle: one file where ``output`` ends in ``.edgellm``, else a folder.

    Args:
        stage_path: The stage folder; it is checked first.
        output: What to write.
        board: What it is made for; None for any machine.
        quality: What ``edgellm evaluate`` found, to go with the bundle.
        force: Replace ``output``.
        progress: Told about checking, golden tokens and writing.

    Raises:
        UsageError: ``stage_path`` is no stage folder, or ``output`` cannot be written.
        BundleInvalid: A file of the stage folder is damaged.
        UnsupportedModel: The graph uses operators that the runner does not have.
        EdgellmError: A wheel that the board needs cannot be fetched.
        DoesNotFit: The board is too small for the bundle.
    """
    board = board or Board()
    folder.claim_output(output, force=force)
    stage = open_stage(stage_path, progress=progress)
    if not (stage_path / TOKENIZER_FILE).is_file():
        raise UsageError(f"{stage_path} has no {TOKENIZER_FILE}, so it cannot be bundled")
    wheels = board.fetch(progress)
    carried = {wheel.path: path for wheel, path in wheels.items()}
    graph = load_graph(stage)
    operators = _operators(stage, graph.graph.opset_imports)
    if EDGELLM in graph.graph.opset_imports:
        carried |= kernel_libraries()
    tokenizer = read_tokenizer(stage_path / TOKENIZER_FILE)
    derived = _chat(stage, tokenizer)
    made = make_golden(stage, graph, _prompts(stage, tokenizer, derived.chat), progress)
    kept = [entry for entry in stage.record.files if entry.path != CHAT_TEMPLATE_FILE]
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch)
        codec.write(small / GOLDEN_FILE, made.goldens)
        write_stages(small / STAGES_FILE, made.stages)
        (small / RUNNER_FILE).write_bytes(runner_archive())
        (small / INSTALL_FILE).write_text(INSTALL, encoding="utf-8")
        own = (*folder.entries(small, MADE), *(_entry(*item) for item in carried.items()))
        manifest = BundleManifest(
            model=stage.record.model,
            provenance=(*stage.record.provenance, _step(stage, derived)),
            files=tuple(sorted((*kept, *own), key=lambda entry: entry.path)),
            requires={**REQUIRES, **operators},
            chat=derived.chat,
            quality=codec.to_json(quality) if quality else {},
            work=stage_work(graph, stage.record.model),
            target=board.target.id if board.target else None,
            wheels=tuple(wheels),
        )
        board.admit(manifest)
        codec.write(small / MANIFEST_FILE, manifest)
        files = {entry.path: stage_path / entry.path for entry in kept}
        files |= {name: small / name for name in (*MADE, MANIFEST_FILE)} | carried
        with folder.whole(output, force=force) as target:
            pack.write(files, target, one_file=output.suffix == pack.SUFFIX, progress=progress)
    return Built(output, manifest, derived.note)


def _entry(name: str, path: Path) -> FileEntry:
    return FileEntry(name, path.stat().st_size, folder.file_sha256(path))


def _operators(stage: StageFolder, opsets: Mapping[str, int]) -> dict[str, str]:
    imports = {domain or "ai.onnx": version for domain, version in opsets.items()}
    for domain in imports:
        if domain not in DOMAINS:
            raise UnsupportedModel(
                f"{stage.path} uses operators of the domain {domain!r}, which the runner does not "
                f"have (it has {', '.join(DOMAINS)}): export the model again"
            )
    return {OPERATORS + domain: f">={version}" for domain, version in sorted(imports.items())}


def _chat(stage: StageFolder, tokenizer: Tokenizer) -> Derived:
    path = stage.path / CHAT_TEMPLATE_FILE
    if not path.is_file():
        return Derived(None, None)
    model = stage.record.model
    bos = "" if model.bos_token_id is None else tokenizer.id_to_token(model.bos_token_id)
    eos = tokenizer.id_to_token(model.stop_token_ids[0]) if model.stop_token_ids else ""
    today = datetime.now(UTC).date()
    return derive(path.read_text(encoding="utf-8"), bos=bos or "", eos=eos or "", today=today)


def _prompts(
    stage: StageFolder, tokenizer: Tokenizer, chat: ChatTemplate | None
) -> list[Sequence[int]]:
    model = stage.record.model
    room = model.kv.max_context - GOLDEN_TOKENS
    if room < 1:
        raise UsageError(
            f"{model.name} has a context of {model.kv.max_context} tokens, "
            f"too short for golden tokens ({GOLDEN_TOKENS} and a prompt)"
        )
    return [prompt_ids(tokenizer, text, chat)[:room] for text in GOLDEN_PROMPTS]


def _step(stage: StageFolder, derived: Derived) -> Step:
    return Step(
        action="bundle",
        parameters={"golden_tokens": GOLDEN_TOKENS},
        measured={"chat_template": derived.note} if derived.note else {},
        versions=versions("onnxruntime", "tokenizers", "jinja2"),
        input_digest=stage.record.digest,
    )
