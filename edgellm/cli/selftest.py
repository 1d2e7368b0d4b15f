"""``edgellm selftest``."""

from edgellm.cli._common import runner_command

command = runner_command("selftest", "Does a bundle answer here as where it was made?")
