"""``edgellm doctor``."""

from edgellm.cli._runner_command import runner_command

command = runner_command("doctor", "Show what a machine can measure.")
