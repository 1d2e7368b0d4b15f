"""Rules about the package as a whole that no linter checks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import edgellm
from edgellm.cli import COMMANDS

PACKAGE = Path(edgellm.__file__).parent
HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "onnx_ir", "numpy", "tokenizers")

LOADED_BY_HELP = """
import json, sys
from edgellm.__main__ import main
sys.argv = ["edgellm", "--help"]
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def leaves(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, click.Command]]:
    """Return every command below ``command`` by the words that call it."""
    found = [(" ".join(path), command)]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += leaves(child, (*path, name))
    return found


ALL = [pair for command in COMMANDS for pair in leaves(command, (str(command.name),))]


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", LOADED_BY_HELP],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )

    loaded = json.loads(done.stderr)
    assert "edgellm.cli" in loaded
    assert sorted(set(HEAVY) & set(loaded)) == []


@pytest.mark.parametrize(("words", "command"), ALL, ids=[words for words, _ in ALL])
def test_the_help_of_every_command_has_an_example(words: str, command: click.Command):
    text = command.get_help(click.Context(command, info_name=words))

    assert "Examples:" in text
    assert f"  edgellm {words}" in text


@pytest.mark.parametrize(("words", "command"), ALL, ids=[words for words, _ in ALL])
def test_every_command_can_answer_in_json(words: str, command: click.Command):
    assert "--json" in command.get_help(click.Context(command, info_name=words))


def test_commands_are_in_the_order_of_their_names():
    assert [command.name for command in COMMANDS] == sorted(str(c.name) for c in COMMANDS)


def test_no_module_has_more_than_500_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}

    assert {path.name: lines for path, lines in lengths.items() if lines > 500} == {}
