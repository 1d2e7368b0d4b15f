"""What is compared: a row per engine and weights, and how its model is made from one GGUF file."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True, slots=True)
class Case:
    """An engine with its weights.

    Attributes:
        label: Name in the table.
        engine: ``engine_*.py`` and the environment that runs it.
        precision: The engine's own word for it.
        bits: Of most weights: what is compared with what.
        variants: Settings that are measured as rows of their own.
    """

    label: str
    engine: str
    precision: str
    bits: int
    variants: tuple[str, ...] = ("default",)

    def path(self, models: Path) -> Path:
        """Return where the case's model lies."""
        return models / f"{self.engine}-{self.precision}{SUFFIXES[self.engine]}"


SUFFIXES: Mapping[str, str] = {"edgellm": ".edgellm", "llamacpp": ".gguf", "genai": ""}
FLASH = ("plain", "flash")  # either may be the faster: shapes decide
CASES = (
    Case("edgellm int8", "edgellm", "int8", 8),
    Case("edgellm int8-dynamic", "edgellm", "int8-dynamic", 8),
    Case("llama.cpp Q8_0", "llamacpp", "Q8_0", 8, FLASH),
    Case("onnxruntime-genai int8", "genai", "int8", 8),
    Case("edgellm int4", "edgellm", "int4", 4),
    Case("llama.cpp Q4_0", "llamacpp", "Q4_0", 4, FLASH),
    Case("onnxruntime-genai int4", "genai", "int4", 4),
)


def make_model(case: Case, source: Path, models: Path, python_of: Callable[[str], str]) -> Path:
    """Return the case's model, made from ``source`` if it is not there yet.

    edgellm's own is made every time: it is what changes.
    """
    path = case.path(models)
    if path.exists() and case.engine != "edgellm":
        return path
    print(f"making {path.name}", flush=True)
    models.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    _remove(part)
    python = python_of(case.engine)
    commands: Mapping[str, list[str | Path]] = {
        "edgellm": [
            *("-m", "edgellm", "build", source, "-o", part, "--scheme", case.precision),
            "--no-evaluate",
        ],
        "llamacpp": [HERE / "gguf_to_quantized.py", source, part, case.precision],
        "genai": [HERE / "gguf_to_genai.py", source, part, case.precision],
    }
    log = models / f"{path.name}.log"
    with log.open("w") as file:
        done = subprocess.run(
            [python, *commands[case.engine]], cwd=ROOT, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        raise SystemExit(f"{path.name} could not be made: {log} says why")
    _remove(path)
    part.rename(path)
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_bytes(path: Path) -> int:
    """Return the bytes of a model's files, configuration and tokenizer included."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
