"""A command of the runner on a board, as if it ran here: ``--on HOST``."""

import argparse

from edgellm.records import folder
from edgellm.records.progress import Progress
from edgellm.remote import deploy
from edgellm.remote.deploy import Needs
from edgellm.remote.run import Hold
from edgellm.remote.ssh import Connection, Say
from edgellm.runner import bench_command
from edgellm.runner.__main__ import prompt_text


def run(
    connection: Connection, command: str, parsed: argparse.Namespace, hear: Say, progress: Progress
) -> int:
    """Run a command on a board, which gets first what it lacks.

    Args:
        connection: To the board; it is closed at the end.
        command: ``bench``, ``doctor``, ``run`` or ``selftest``.
        parsed: Its options as they were read here, with ``wait``.
        hear: Called with each line that it says on stderr.
        progress: Told about the copy.

    Returns:
        Its exit status.

    Raises:
        EdgellmError: The board cannot be reached, or cannot do it.
    """
    options = deploy.portable(parsed)
    if command == "doctor":
        with deploy.visit(connection) as there:
            return there.agent.run(command, options, hear=hear, capture=False).status
    if command == "run":
        options |= {"prompt": prompt_text(parsed), "prompt_file": None}
    if command == "bench" and parsed.output:
        folder.claim_output(parsed.output, force=parsed.force)
    bundle = deploy.read_bundle(parsed.bundle)
    asked = options.get("no_fit_check") is not True
    needs = Needs(options.get("context")) if asked else None
    with (
        deploy.visit(connection, bundle, needs) as there,
        Hold(there.agent, f"edgellm {command}", wait=parsed.wait) as hold,
    ):
        options["bundle"] = deploy.bring(there, hold, bundle, progress).path
        hold.ensure()
        if command != "bench":
            return there.agent.run(command, options, hear=hear, capture=False).status
        report = deploy.bench(there, options, hear)
    bench_command.show(parsed, report)
    return 0
