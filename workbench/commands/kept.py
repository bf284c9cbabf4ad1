"""The session that the command line keeps between two commands: a file that only its person can read.

Whoever reads the file speaks for the person, from this OS user, until the session ends. So
(1) it lies in the runtime folder of the OS session, which that session's end empties: `$XDG_RUNTIME_DIR`,
    or else `/run/user/<uid>`. Without one nothing is kept: a temporary folder or a home would outlive it;
(2) its folder, and the one above, belong to this user, and nobody else can write there;
(3) it is a regular file of this user's, of mode 0600, reached by no link, and not longer than a session is;
(4) it is for the socket and the person that were asked for, and its key is the one that was certified.
What is otherwise is refused, and left as it is for its owner to look at. Whether the session still lives
is the service's to say. A write is a draft of the same mode, then a rename (`ledger.files`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from ledger import files
from workbench.client import Client
from workbench.commands.said import NothingToDoError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document
from workbench.rules.session import CertifiedSession

FOLDER = "custody-workbench"
KEPT_MAX = 32 * 1024
"""A certified session is some two kilobytes."""
PATH_MAX = 4096


class Kept(Document):
    """What the file holds."""

    v: Literal[1]
    socket: Annotated[str, Field(max_length=PATH_MAX)]
    key: Annotated[Digest, Field(repr=False)]
    certified: CertifiedSession


@dataclass(frozen=True, slots=True)
class Place:
    """Where the session of one person at one service is kept."""

    runtime: Path
    socket: Path
    person: str

    @property
    def folder(self) -> Path:
        """The folder of these files."""
        return self.runtime / FOLDER

    @property
    def path(self) -> Path:
        """The file; its name says nothing."""
        named = hashlib.sha256(os.fsencode(self.socket) + b"\n" + os.fsencode(self.person)).hexdigest()
        return self.folder / f"{named[:32]}.json"

    def read(self) -> Client | None:
        """Return the session that is kept, None where none is, or refuse (2) (3) (4)."""
        if not os.path.lexists(self.folder):
            return None
        self._closed()
        raw = _content(self.path)
        return None if raw is None else self._client(Kept.read(raw, limit=KEPT_MAX))

    def create(self, client: Client) -> None:
        """Keep a session where none is; raises FileExistsError where one came first."""
        files.create(self._writable(), self._kept(client))

    def replace(self, client: Client) -> None:
        """Keep a session in place of the one that is there."""
        files.replace(self._writable(), self._kept(client))

    def remove(self, client: Client) -> None:
        """Forget this session; another command may have put its successor in its place meanwhile."""
        kept = self.read()
        if kept is not None and kept.certified == client.certified:
            self.path.unlink(missing_ok=True)

    def _writable(self) -> Path:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._closed()
        return self.path

    def _closed(self) -> None:
        # (2) whoever can write a folder can put another file, or another folder, in its place
        for folder in (self.runtime, self.folder):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise _unsafe(folder, "not a folder")
            if status.st_uid != os.geteuid():
                raise _unsafe(folder, f"belongs to uid {status.st_uid}")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _unsafe(folder, f"mode {stat.filemode(status.st_mode)}, others can write there")

    def _kept(self, client: Client) -> bytes:
        kept = Kept(
            v=1,
            socket=str(self.socket),
            key=client.key.private_bytes_raw().hex(),
            certified=client.certified,
        )
        return kept.canonical()

    def _client(self, kept: Kept) -> Client:
        # (4) a file that was moved here must not have one service's requests signed for another
        session = kept.certified.session
        if (kept.socket, session.person) != (str(self.socket), self.person):
            raise RefusedError(
                Refusal.SESSION_FOREIGN, f"{self.path} is for {session.person} at {kept.socket}"
            )
        if session.os_user != os.getuid():
            raise RefusedError(Refusal.SESSION_FOREIGN, f"{self.path} is for OS user {session.os_user}")
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(kept.key))
        if key.public_key().public_bytes_raw().hex() != session.public_key:
            raise RefusedError(Refusal.SIGNATURE, f"{self.path} holds another key than was certified")
        return Client(self.socket, key, kept.certified)


def place(runtime: Path | None, *, socket: Path, person: str) -> Place:
    """Return where a session is kept (1), or say that there is no place for it."""
    given = [runtime] if runtime is not None else list(_usual())
    found = next((each for each in given if each.is_dir()), None)
    if found is None:
        looked = " and ".join(str(each) for each in given)
        raise NothingToDoError(
            f"no runtime folder ({looked}): a session is kept in no other; --runtime names one"
        )
    return Place(found.absolute(), socket.absolute(), person)


def _usual() -> Iterator[Path]:
    named = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # the specification: a relative path there is to be ignored
    if named.is_absolute():
        yield named
    yield Path(f"/run/user/{os.getuid()}")


def _content(path: Path) -> bytes | None:
    """Return the bytes of a file that is (3), or None where there is none."""
    try:
        # without waiting: a pipe in its place would hold the command up
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)
        raise _unsafe(path, what) from error
    try:
        # what is looked at is what is read: the name may lead elsewhere by now
        _own(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(KEPT_MAX + 1)
    finally:
        os.close(descriptor)


def _own(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unsafe(path, "not a regular file")
    if status.st_uid != os.geteuid():
        raise _unsafe(path, f"belongs to uid {status.st_uid}")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unsafe(path, f"mode {stat.filemode(status.st_mode)}, only its owner may reach it")


def _unsafe(path: Path, what: str) -> RefusedError:
    return RefusedError(Refusal.SESSION_FILE, f"{path}: {what}")
