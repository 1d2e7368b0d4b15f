"""Hugging Face folders: configuration, tokenizer, chat template, licence."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgellm.errors import BundleInvalid, UnsupportedModel, UsageError

CONFIG_FILE = "config.json"


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; an absent file is an empty one.

    Raises:
        BundleInvalid: Not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleInvalid(f"{path} is not valid JSON ({error}): it is damaged") from None
    if not isinstance(data, dict):
        raise BundleInvalid(f"{path} is not a JSON object: it is damaged")
    return data


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's ``config.json``.

    Raises:
        UsageError: The folder holds no model.
        BundleInvalid: The file is damaged or names no ``model_type``.
    """
    if not (folder / CONFIG_FILE).is_file():
        inside = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"give the file {folder / inside[0]}" if inside else "give a Hugging Face folder"
        raise UsageError(f"{folder} is not a model folder: it has no {CONFIG_FILE}; {hint}")
    config = read_json(folder / CONFIG_FILE)
    if not isinstance(config.get("model_type"), str):
        raise BundleInvalid(f"{folder / CONFIG_FILE} names no model_type: it is damaged")
    return config


def read_chat_template(folder: Path) -> str | None:
    """Return the chat template, from its own file or the tokenizer's; of several, the default."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return _text(own)
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = {each["name"]: each["template"] for each in template}.get("default")
    return template


def read_end_ids(folder: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the end ids of ``generation_config.json``, or of the configuration."""
    generation = read_json(folder / "generation_config.json")
    ids = generation.get("eos_token_id", config.get("eos_token_id"))
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def read_license(folder: Path) -> str | None:
    """Return the licence that the model card's front matter names."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.match(r"---\n.*?^license: *([^\n]+)$.*?^---$", text, re.DOTALL | re.MULTILINE)
    return match.group(1).strip() if match else None


def read_tokenizer(folder: Path) -> str:
    """Return the text of ``tokenizer.json``, converted from the slow tokenizer where it is absent.

    Raises:
        BundleInvalid: The file is not text.
        UnsupportedModel: There is no tokenizer that the ``tokenizers`` library can run.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        return _text(path)
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return str(slow.backend_tokenizer.to_str())
    except Exception as error:  # each converter raises its own kinds
        raise UnsupportedModel(
            f"{folder} has no tokenizer.json and none could be made of its other files; "
            "save the model's fast tokenizer there"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{path} is not UTF-8 text ({error}): it is damaged") from None
