"""What can go wrong, as a tree; the exit code is part of the class.

::

    EdgellmError             1
      UsageError             2   the request: an unknown name, a bad value, an existing output
      UnsupportedModel       3   an architecture or operator that we cannot handle, by name
      BundleInvalid          4   a folder or file that is damaged, incomplete or too new
      ParityExceeded         5   what was made differs from its reference by more than stated
      RegressionFound        6   only where the user asked for a limit
      RemoteError            7   another machine
        RemoteUnreachable          transient: it may be tried again
        RemoteFailed               stable: the command, its exit status, what it said last
      DoesNotFit             8   a machine that lacks memory, disk, or what the packages need

A message is one sentence that names the thing, its value and the next step.
"""

import difflib
from collections.abc import Iterable


class EdgellmError(Exception):
    """The base of every error that a user can act on."""

    exit_code = 1


class UsageError(EdgellmError):
    """The request cannot be met as it stands."""

    exit_code = 2


class UnsupportedModel(EdgellmError):
    """An architecture, operator or format that edgellm cannot handle."""

    exit_code = 3


class BundleInvalid(EdgellmError):
    """A stage folder, bundle or record is damaged, incomplete or of another version."""

    exit_code = 4


class ParityExceeded(EdgellmError):
    """A result differs from its reference by more than the stated tolerance."""

    exit_code = 5


class RegressionFound(EdgellmError):
    """A measured figure crossed a limit that the user set."""

    exit_code = 6


class RemoteError(EdgellmError):
    """Another machine does not do what it was asked."""

    exit_code = 7


class RemoteUnreachable(RemoteError):
    """The connection to a machine is not there, or was lost; trying again may help."""


class RemoteFailed(RemoteError):
    """A command failed on another machine; trying again would not help.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class DoesNotFit(EdgellmError):
    """A machine cannot run a bundle; the message has the number, and the nearest that would fit."""

    exit_code = 8


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``known``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""
