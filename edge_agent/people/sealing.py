"""Seal the templates of people in a file, and erase what a file held.

The content is decrypted into a buffer that the caller overwrites after use. Owns the library ``cryptography``.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.files import replace_durably, sync_folder

Vector = npt.NDArray[np.float32]


class PeopleError(EdgeAgentError):
    """The enrolled people cannot be read or changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Enrolled:
    """Somebody enrolled. ``key`` is a random word that stands for the name elsewhere; ``enrolled`` Unix seconds.

    ``template``: the mean embedding of ``pictures`` pictures by ``network``, float32 of length 1. ``agreed``: how the
    person's consent was given, in the words of who enrolled them.
    """

    key: str
    name: str
    enrolled: float
    network: str
    pictures: int
    template: Vector = field(repr=False)
    agreed: str = ""

    def exported(self) -> dict[str, Any]:
        """Everything that is held of the person, for JSON."""
        told = {"name": self.name, "key": self.key, "enrolled": self.enrolled, "agreed": self.agreed}
        numbers = [round(float(value), 6) for value in self.template]
        return told | {"network": self.network, "pictures": self.pictures, "template": numbers}


_MAGIC = b"EAPEOPLE1"
_NONCE, _TAG = 12, 16


def _cipher(key: str, nonce: bytes, tag: bytes | None) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise PeopleError("needs the extra identity: run \"pip install 'edge-emotion-agent[identity]'\"") from None
    try:
        raw = base64.b64decode(key, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise PeopleError(
            "the key of the enrolled people is not 32 bytes in URL-safe base64: make one with "
            "'openssl rand -base64 32 | tr +/ -_'"
        )
    return Cipher(algorithms.AES(raw), modes.GCM(nonce, tag))


def encrypt(content: bytearray, key: str) -> bytes:
    """Seal ``content`` with ``key``. Raises PeopleError when the key is no key."""
    nonce = secrets.token_bytes(_NONCE)
    encryptor = _cipher(key, nonce, None).encryptor()
    encryptor.authenticate_additional_data(_MAGIC)
    sealed = encryptor.update(content) + encryptor.finalize()
    return bytes(_MAGIC + nonce + encryptor.tag + sealed)


def decrypt(sealed: bytes, key: str) -> bytearray | None:
    """The content in a buffer that can be overwritten; None when it was not made with ``key``, or is damaged."""
    head = len(_MAGIC) + _NONCE
    if not sealed.startswith(_MAGIC) or len(sealed) < head + _TAG:
        return None
    decryptor = _cipher(key, sealed[len(_MAGIC) : head], sealed[head : head + _TAG]).decryptor()
    decryptor.authenticate_additional_data(_MAGIC)
    cipher_text = sealed[head + _TAG :]
    content = bytearray(len(cipher_text) + 16)
    from cryptography.exceptions import InvalidTag

    used = decryptor.update_into(cipher_text, content)
    try:
        decryptor.finalize()
    except InvalidTag:
        content[:] = bytes(len(content))
        return None
    del content[used:]
    return content


_FIXED = struct.Struct("<dI")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class SealedPerson:
    """One person as views into the decrypted buffer, valid until that is overwritten."""

    key: memoryview
    name: memoryview
    network: memoryview
    agreed: memoryview
    template: memoryview
    fixed: memoryview

    def person(self) -> Enrolled:
        """The person, copied."""
        enrolled, pictures = _FIXED.unpack(self.fixed)
        texts = (str(part, "utf-8") for part in (self.key, self.name, self.network, self.agreed))
        key, name, network, agreed = texts
        return Enrolled(key, name, enrolled, network, pictures, np.frombuffer(bytearray(self.template), "<f4"), agreed)


def packed(person: Enrolled) -> bytearray:
    """A person as bytes: six parts, each after its length."""
    texts = [text.encode() for text in (person.key, person.name, person.network, person.agreed)]
    parts = [*texts, person.template.astype("<f4").tobytes(), _FIXED.pack(person.enrolled, person.pictures)]
    return bytearray().join(_LENGTH.pack(len(part)) + part for part in parts)


def parsed(content: bytearray) -> list[SealedPerson]:
    """The people in ``content``, as views into it."""
    view, at, parts = memoryview(content), 0, []
    while at < len(view):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        parts.append(view[at : at + length])
        at += length
    return [SealedPerson(*parts[n : n + 6]) for n in range(0, len(parts), 6)]


# ---------------------------------------------------------------------- files


def replace_and_erase(path: Path, content: bytes) -> None:
    """Replace a file durably, and overwrite what it held."""
    old = _opened(path)
    try:
        replace_durably(path, content, 0o600)
        _overwrite(old)
    finally:
        if old is not None:
            os.close(old)


def shred(path: Path) -> None:
    """Overwrite and delete a file, if there is one."""
    old = _opened(path)
    if old is None:
        return
    try:
        _overwrite(old)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    finally:
        os.close(old)


def _opened(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return None


def _overwrite(descriptor: int | None) -> None:
    if descriptor is not None:
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
