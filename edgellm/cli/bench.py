"""``edgellm bench``."""

from edgellm.cli._runner_command import runner_command

command = runner_command("bench", "Measure a bundle, here or on a board.")
