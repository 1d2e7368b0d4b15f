"""``edgellm doctor``."""

from edgellm.cli._common import runner_command

command = runner_command("doctor", "Show what this machine can measure.")
