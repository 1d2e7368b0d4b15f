"""``edgellm selftest``."""

from edgellm.cli._runner_command import runner_command

command = runner_command("selftest", "Does a bundle answer here as where it was made?")
