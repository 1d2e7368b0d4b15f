"""A board and the store on it: what it is, what it has, and how it gets what it lacks."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgellm.errors import BundleInvalid, RemoteUnreachable
from edgellm.records import codec
from edgellm.records.progress import Progress, silent
from edgellm.remote import on_board
from edgellm.remote.ssh import Connection
from edgellm.runner.members import Member

SOURCE = Path(on_board.__file__).read_bytes()
# Its stdin holds the source first, then what the source reads; -I: nothing that lies around there.
START = f"import sys; exec(sys.stdin.buffer.read({len(SOURCE)}))"
PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe found.

    Attributes:
        python: Version of the Python that would run the bundle.
        bits: Of an address in that Python.
        machine: As ``uname -m`` says, such as ``aarch64``.
        glibc: Its version; None where the C library is another.
        features: What the kernel says that the cores can do.
        board: Its name; None where it has none.
        memory_bytes: All memory; None where the kernel does not say.
        available_bytes: What programs could have now.
        home: Folder of edgellm's files there, absolute.
        free_bytes: What may still be written there.
        blobs: Size of each file in the store, by its SHA-256; parts end in ``.part``.
        bundles: Digests of the bundles that are whole there.
        runtimes: Names of the folders of packages that are whole there.
    """

    python: tuple[int, ...]
    bits: int
    machine: str
    glibc: str | None
    features: tuple[str, ...]
    board: str | None
    memory_bytes: int | None
    available_bytes: int | None
    home: str
    free_bytes: int
    blobs: Mapping[str, int]
    bundles: tuple[str, ...]
    runtimes: tuple[str, ...]

    @property
    def python_version(self) -> str:
        """Return the version of its Python as text."""
        return ".".join(map(str, self.python))


@dataclass(frozen=True, slots=True)
class Blob:
    """A file to be sent: its name for messages, and its content by digest."""

    name: str
    sha256: str
    content: Member

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Yield the content from ``offset`` on."""
        with self.content.path.open("rb") as file:
            file.seek(self.content.offset + offset)
            left = self.content.size - offset
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                yield piece
                left -= len(piece)

    def check(self) -> None:
        """Refuse a file that is damaged here.

        Raises:
            BundleInvalid: It is.
        """
        if self.content.sha256() != self.sha256:
            raise BundleInvalid(
                f"{self.content.path}: {self.name} does not match its recorded SHA-256: "
                "it is damaged"
            )


class Board:
    """A board at the end of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.name = connection.host.name
        self._held: dict[str, int] | None = None  # the store's files; None where that is not known

    def python(self, *words: str, home: str | None) -> Sequence[str]:
        """Return the command that runs Python there."""
        where = [f"EDGELLM_HOME={home}"] if home else []
        return ["env", *where, self.connection.host.entry.python, *words]

    def probe(self) -> Facts:
        """Describe the board.

        Raises:
            RemoteUnreachable: It does not answer.
            RemoteFailed: It has no Python 3.
        """
        told = self.connection.call(self._store("probe"), SOURCE)
        facts: Facts = codec.from_json(Facts, json.loads(told), f"the probe of {self.name}")
        self._held = dict(facts.blobs)
        return facts

    def send(
        self,
        blobs: Sequence[Blob],
        prepare: Callable[[], None] = lambda: None,
        progress: Progress = silent,
    ) -> int:
        """Send what the board lacks; a part that is there already is continued.

        Where the connection is lost, it is made again and the rest is sent.

        Args:
            blobs: What it shall have.
            prepare: Called before each attempt.
            progress: Told about each piece.

        Returns:
            The bytes that were sent.

        Raises:
            BundleInvalid: A file is damaged here.
            RemoteError: The board cannot be reached, or cannot take them.
        """
        patience = self.connection.patience()
        total = sum(blob.content.size for blob in blobs)
        sent, there, most = 0, 0, -1

        def count(piece: int) -> None:
            nonlocal sent, there
            sent, there = sent + piece, there + piece
            progress(f"copying {there >> 20} of {total >> 20} MiB", there, total)

        while True:
            try:
                prepare()
                held = self._known()
                there = sum(_there(blob, held) for blob in blobs)
                lacking = [blob for blob in blobs if blob.sha256 not in held]
                if most < 0:  # the first time
                    for blob in lacking:
                        blob.check()
                if there > most:  # it gets on
                    most = there
                    patience.renew()
                if lacking:
                    self._stream(lacking, held, count)
                    held.update({blob.sha256: blob.content.size for blob in lacking})
            except RemoteUnreachable as error:
                self._held = None
                patience.wait(error)
            else:
                return sent

    def lacking_bytes(self, blobs: Sequence[Blob]) -> int:
        """Return how much of some files the board lacks, by what is known of it."""
        held = self._known()
        return sum(blob.content.size - _there(blob, held) for blob in blobs)

    def _known(self) -> dict[str, int]:
        if self._held is None:
            self.probe()
        assert self._held is not None
        return self._held

    def _stream(
        self, lacking: Sequence[Blob], held: Mapping[str, int], count: Callable[[int], None]
    ) -> None:
        with self.connection.start(self._store("receive")) as session:
            with contextlib.suppress(BrokenPipeError):  # the status says why
                session.stdin.write(SOURCE)
                for blob in lacking:
                    offset = _there(blob, held)
                    head = f"{blob.sha256} {offset} {blob.content.size}\n"
                    session.stdin.write(head.encode())
                    for piece in blob.pieces(offset):
                        session.stdin.write(piece)
                        count(len(piece))
                session.stdin.close()
            status = session.status()
            if status == on_board.TRY_AGAIN:
                raise RemoteUnreachable(f"{self.name}: {session.last_words()}")
            if status:
                raise session.failed(status)

    def assemble(self, digest: str, files: Mapping[str, str]) -> None:
        """Make a bundle of files that the board has.

        Args:
            digest: The bundle's.
            files: Name to SHA-256.

        Raises:
            RemoteError: The board cannot be reached, or a file is not there.
        """
        self._ask("assemble", {"digest": digest, "files": files})

    def discard_damaged(self, digest: str, blobs: Sequence[Blob]) -> None:
        """Remove a bundle, and those of its files whose content is not what it was any more.

        Raises:
            RemoteError: The board cannot be reached.
        """
        self._held = None
        self._ask("discard", {"digest": digest, "sha256": [blob.sha256 for blob in blobs]})

    def _ask(self, operation: str, request: Mapping[str, Any]) -> None:
        command, data = self._store(operation), SOURCE + json.dumps(request).encode()
        self.connection.patiently(lambda: self.connection.call(command, data))

    def _store(self, operation: str) -> Sequence[str]:
        return self.python("-I", "-c", START, operation, home=self.connection.host.entry.home)


def _there(blob: Blob, blobs: Mapping[str, int]) -> int:
    """Return how many bytes of a file the board has."""
    part = min(blobs.get(f"{blob.sha256}.part", 0), blob.content.size)
    return blobs.get(blob.sha256, part)
