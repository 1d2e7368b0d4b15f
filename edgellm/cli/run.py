"""``edgellm run``."""

from edgellm.cli._runner_command import runner_command

command = runner_command("run", "Answer a prompt with a bundle, here or on a board.")
