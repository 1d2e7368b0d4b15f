import os
import signal

import click
import pytest
from click.testing import CliRunner

from edgellm.cli._common import handle_errors
from edgellm.errors import BundleInvalid, UsageError


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def fail(error):
    def raise_it():
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("act", "code", "sentence"),
    [
        (fail(UsageError("no such thing")), 2, "edgellm: no such thing"),
        (fail(BundleInvalid("it is damaged")), 4, "edgellm: it is damaged"),
        (fail(PermissionError(13, "denied", "a.txt")), 1, "edgellm: [Errno 13] denied: 'a.txt'"),
        (fail(KeyboardInterrupt), 130, "edgellm: interrupted; nothing was left half-written"),
        (terminate, 130, "edgellm: interrupted; nothing was left half-written"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(act, code, sentence):
    command = click.command()(handle_errors(act))

    result = CliRunner().invoke(command, [])

    assert (result.exit_code, result.stderr) == (code, f"{sentence}\n")
