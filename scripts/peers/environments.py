"""One Python environment per peer, made on first use in the user's cache."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Environment:
    """What pip is asked for, and the variables that it needs to build."""

    requirements: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


ENVIRONMENTS: Mapping[str, Environment] = {
    # From source: llama.cpp's build then uses every instruction of this machine. Without pip's
    # cache, which may hold a build of other flags.
    "llamacpp": Environment(
        ("--no-cache-dir", "--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36", "numpy"),
        {"CXXFLAGS": f"-include {HERE / 'tile_config.h'}"},
    ),
    # The builder of 0.18 imports model classes that transformers has from version 5 on.
    "genai": Environment(
        (
            *("onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "onnx-ir", "torch==2.13.0"),
            *("transformers>=5", "gguf", "accelerate", "sentencepiece", "protobuf"),
        )
    ),
}


def python_of(name: str, cache: Path, given: Mapping[str, str]) -> str:
    """Return the interpreter of an engine's environment, making the environment if need be.

    Args:
        name: A key of ``ENVIRONMENTS``; ``edgellm`` is the interpreter that runs this.
        cache: Folder of the environments.
        given: Interpreters that the user named, by engine.
    """
    if name == "edgellm":
        return sys.executable
    if name in given:
        return given[name]
    place = cache / "environments" / name
    done = place / "installed"
    if not done.exists():
        wanted = ENVIRONMENTS[name]
        print(f"setting up {place}: some minutes", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run(
            [place / "bin/python", "-m", "pip", "install", "-q", *wanted.requirements],
            env=os.environ | wanted.variables,
            check=True,
        )
        done.touch()
    return str(place / "bin/python")
