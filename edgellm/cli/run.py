"""``edgellm run``."""

from edgellm.cli._common import runner_command

command = runner_command("run", "Answer a prompt with a bundle.")
