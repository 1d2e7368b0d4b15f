"""Rules about the package as a whole that no linter checks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import edgellm
from edgellm.cli import COMMANDS, main

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


def calls(command: click.Command) -> list[str]:
    """Return the words that call ``command`` and every command below it."""
    children = command.commands.values() if isinstance(command, click.Group) else ()
    below = [words for child in children for words in calls(child)]
    return [str(command.name), *(f"{command.name} {words}" for words in below)]


ALL = [words for command in COMMANDS for words in calls(command)]


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


@pytest.mark.parametrize("words", ALL)
def test_the_help_of_every_command_has_an_example_and_offers_json(words: str):
    text = CliRunner().invoke(main, [*words.split(), "--help"]).output

    assert "--json" in text
    assert "\\b" not in text
    assert f"  edgellm {words}" in text.partition("Examples:")[2]


def test_commands_are_in_the_order_of_their_names():
    assert [command.name for command in COMMANDS] == sorted(str(c.name) for c in COMMANDS)


def test_no_module_has_more_than_500_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}

    assert {path.name: lines for path, lines in lengths.items() if lines > 500} == {}
