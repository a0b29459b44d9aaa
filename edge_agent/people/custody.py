"""Keep the templates of enrolled people encrypted on disk, and forget them so that nothing is left.

One file holds everybody, encrypted (AES-256-GCM) with a key from a systemd credential, from ``identity.key_file``, or
from a file beside it that only this user can read. Pictures are never kept. After somebody was forgotten, the old file
is overwritten and, where the key is ours, everything is encrypted anew with a new key, so that what a flash memory may
still hold cannot be read. What is decrypted lies in buffers that are overwritten after use.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import hand_over, make_folder, read_secret
from edge_agent.domain.text import did_you_mean
from edge_agent.people.sealing import (
    Enrolled,
    PeopleError,
    SealedPerson,
    Vector,
    decrypt,
    encrypt,
    packed,
    parsed,
    replace_and_erase,
    shred,
)
from edge_agent.settings import Settings

FOLDER = "people"
"""Folder of the custody, in the state directory."""

CREDENTIAL = "edge-agent-people.key"
"""Name of the systemd credential that holds the key."""

_FILE, _KEY, _LOCK = "people.bin", "people.key", "people.lock"
_LONGEST_NAME = 64


def custody_of(settings: Settings) -> Custody:
    """The custody that these settings use."""
    return Custody(settings.device.state_dir / FOLDER, settings.identity.key_file)


def checked_name(name: str) -> str:
    """Return ``name`` without surrounding spaces.

    Raises:
        PeopleError: empty, too long, or with characters that cannot be printed.
    """
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise PeopleError(f"a person's name has 1 to {_LONGEST_NAME} printable characters")
    return name


class Custody:
    """Store of the enrolled people in ``folder``. Several processes may use it at once.

    ``key_file``: where the key is; None: a systemd credential, else a file in ``folder`` that is made when needed.
    """

    def __init__(self, folder: Path, key_file: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = folder
        self._key_file = key_file
        self._credentials = environment.get("CREDENTIALS_DIRECTORY")

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes with every change of the file; (0, 0) without one."""
        try:
            status = (self.folder / _FILE).stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def people(self) -> list[Enrolled]:
        """Everybody who is enrolled, by name.

        Raises:
            PeopleError: the file cannot be read, is damaged, or was made with another key.
        """
        with self.opened() as records:
            return sorted((record.person() for record in records), key=lambda person: person.name.casefold())

    @contextmanager
    def opened(self) -> Iterator[list[SealedPerson]]:
        """The decrypted records; their buffer is overwritten at the end. Raises as :meth:`people`."""
        try:
            sealed = (self.folder / _FILE).read_bytes()
        except FileNotFoundError:
            yield []
            return
        except OSError as error:
            raise PeopleError(f"{self.folder / _FILE} cannot be read: {error.strerror}") from None
        content = self._decrypt(sealed)
        try:
            yield parsed(content)
        finally:
            content[:] = bytes(len(content))

    def find(self, name: str) -> Enrolled:
        """The person of that name, whatever its case.

        Raises:
            PeopleError: there is none; suggests the closest name.
        """
        wanted = checked_name(name).casefold()
        everybody = self.people()
        for person in everybody:
            if person.name.casefold() == wanted:
                return person
        hint = did_you_mean(name, [person.name for person in everybody], "enrolled: {}")
        raise PeopleError(f"nobody called {name!r} is enrolled{hint}")

    def enroll(self, person: Enrolled) -> None:
        """Add ``person``, or replace whoever has the same name. Raises PeopleError."""
        with self._alone():
            others = [p for p in self.people() if p.name.casefold() != person.name.casefold()]
            self._write([*others, person], self._keys() or [self._new_key()])

    def forget(self, names: Sequence[str]) -> int:
        """Remove people, overwrite the old file, and change the key where it is ours; return how many were removed.

        Raises:
            PeopleError: one of the names is not enrolled; nobody is removed then.
        """
        with self._alone():
            gone = {self.find(name).key for name in names}
            left = [p for p in self.people() if p.key not in gone]
            if gone:
                self._remove(left)
            return len(gone)

    def forget_all(self) -> None:
        """Remove everybody, also when the file cannot be read: it is overwritten. Raises PeopleError."""
        with self._alone():
            self._remove([])

    def _remove(self, left: Sequence[Enrolled]) -> None:
        if not left:
            for name in (_FILE, *([] if self._foreign_key else [_KEY])):
                shred(self.folder / name)
            return
        if self._foreign_key:
            self._write(left, self._keys())
            return
        # Both keys are kept until the file is written: after a power cut in between, one of them opens it.
        old = self._keys()
        new = self._new_key(before=old)
        self._write(left, [new])
        self._keep_keys([new])

    # ------------------------------------------------------------------ keys

    @property
    def _foreign_key(self) -> bool:
        return self._key_file is not None or self._credential is not None

    @property
    def _credential(self) -> Path | None:
        path = Path(self._credentials) / CREDENTIAL if self._credentials else None
        return path if path is not None and path.exists() else None

    def _keys(self) -> list[str]:
        """Keys that may open the file, the newest first; none when there is no key file yet.

        Raises:
            PeopleError: the key cannot be read, or others could read it.
        """
        path = self._key_file or self._credential or self.folder / _KEY
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            if self._key_file is not None:
                raise PeopleError(
                    f"identity.key_file: {path} does not exist; make one with 'openssl rand -base64 32 | "
                    f"tr +/ -_ > {path}' and 'chmod 600 {path}'"
                ) from None
            return []
        except OSError as error:
            raise PeopleError(f"the key {path} cannot be read: {error.strerror}") from None
        if path != self._credential and stat.S_IMODE(mode) & 0o077:
            raise PeopleError(f"the key {path} can be read by others: run 'chmod 600 {path}'")
        try:
            if path.parent == self.folder and path.name == _KEY:
                return path.read_text("ascii").split()
            return [read_secret(path, "the key of the enrolled people")]
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise PeopleError(f"the key {path} cannot be read: {error}") from None

    def _new_key(self, before: Sequence[str] = ()) -> str:
        key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._keep_keys([key, *before])
        return key

    def _keep_keys(self, keys: Sequence[str]) -> None:
        replace_and_erase(self.folder / _KEY, "\n".join(keys).encode())

    # ------------------------------------------------------------------ file

    def _write(self, people: Sequence[Enrolled], keys: Sequence[str]) -> None:
        content = bytearray().join(packed(person) for person in people)
        try:
            replace_and_erase(self.folder / _FILE, encrypt(content, keys[0]))
        finally:
            content[:] = bytes(len(content))

    def _decrypt(self, sealed: bytes) -> bytearray:
        for key in self._keys():
            content = decrypt(sealed, key)
            if content is not None:
                return content
        raise PeopleError(
            f"{self.folder / _FILE} is damaged, or its key is gone: put the key back, or run "
            "'edge-agent people forget --all' and enroll everybody anew"
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from changing the file meanwhile."""
        try:
            make_folder(self.folder)
            with (self.folder / _LOCK).open("w") as lock:
                hand_over(self.folder / _LOCK)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            advice = "; free some space ('people forget --all' needs none)" if error.errno == errno.ENOSPC else ""
            raise PeopleError(f"{self.folder}: {error.strerror or error}{advice}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    key: str
    name: bytearray
    network: str
    template: Vector

    @classmethod
    def of(cls, record: SealedPerson) -> _Member:
        template = np.frombuffer(bytearray(record.template), "<f4")
        return cls(str(record.key, "utf-8"), bytearray(record.name), str(record.network, "utf-8"), template)

    def wipe(self) -> None:
        self.template.fill(0)
        self.name[:] = bytes(len(self.name))


class Known:
    """The enrolled people in memory, read again when the file changes; a gallery for analyzers.

    Whoever is forgotten is overwritten in memory, too. A file that cannot be read means that nobody is known;
    :attr:`problem` says why. One thread refreshes; others may ask for names.
    """

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._stamp: tuple[int, int] | None = None
        self._members: tuple[_Member, ...] = ()
        self.version = 0
        self.problem = ""

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether it had."""
        stamp = self._custody.stamp
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        members: tuple[_Member, ...] = ()
        try:
            with self._custody.opened() as records:
                members = tuple(_Member.of(record) for record in records)
            self.problem = ""
        except PeopleError as error:
            self.problem = str(error)
        old, self._members = self._members, members
        for member in old:
            member.wipe()
        self.version += 1
        return True

    def templates(self, network: str) -> Mapping[str, Vector]:
        """The template of each person by key."""
        return {member.key: member.template for member in self._members if member.network == network}

    def name(self, key: str) -> str | None:
        """The name that belongs to a key; None when it is unknown."""
        return next((str(member.name, "utf-8") for member in self._members if member.key == key), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of everybody enrolled, in order."""
        return tuple(sorted(str(member.name, "utf-8") for member in self._members))


def new_person(name: str, network: str, vectors: Sequence[Vector], enrolled: float, agreed: str) -> Enrolled:
    """Make a person of the embeddings of their pictures; the template is their mean, scaled to length 1."""
    mean = np.mean(np.stack(vectors), axis=0)
    template = np.array(mean / np.linalg.norm(mean), np.float32)
    return Enrolled(f"p_{secrets.token_hex(4)}", checked_name(name), enrolled, network, len(vectors), template, agreed)
