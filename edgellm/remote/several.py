"""Several boards at once: one that fails does not stop the others."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from edgellm.errors import EdgellmError
from edgellm.remote.hosts import Host
from edgellm.remote.ssh import Connection, Say

T = TypeVar("T")


def on_all(
    hosts: Sequence[Host], work: Callable[[Connection], T], say: Say
) -> list[T | EdgellmError]:
    """Work on each host in a thread of its own.

    Args:
        hosts: One or more.
        work: Called with a connection to each.
        say: Called with what the user should know meanwhile.

    Returns:
        What came of each, in their order: the result, or the error.
    """
    connections = [Connection(host, say) for host in hosts]
    with ThreadPoolExecutor(len(hosts)) as pool:
        futures = [pool.submit(work, connection) for connection in connections]
        try:
            wait(futures)
        except BaseException:  # Ctrl-C reaches this thread alone
            for connection in connections:
                connection.abort()
            raise
    found: list[T | EdgellmError] = []
    for future in futures:
        try:
            found.append(future.result())
        except EdgellmError as error:
            found.append(error)
    return found
