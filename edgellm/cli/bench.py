"""``edgellm bench``."""

from edgellm.cli._common import runner_command

command = runner_command("bench", "Measure a bundle on this machine.")
