"""A face and secrets that must not leave a trace, and the search for every form in which they could.

Bytes of the picture as sent, runs of its pixels in several channel orders, its marker and the secrets, each raw, as hex
and as base64; any image file at all; and, for crops that were scaled and so have no known bytes, whatever is neither
text nor a database, and in text any string or list of numbers long enough to hold one.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage import data

MARK = b"canary-picture-6f1d0c9a77e24b"

_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"WEBPVP8", b"GIF8", b"/9j/4", b"iVBORw0KGgo")
_LONG_STRING = re.compile(rb"[A-Za-z0-9+/=_-]{160,}")
_LONG_LIST = re.compile(rb"(?:-?\d+(?:\.\d+)?(?:e-?\d+)?\s*,\s*){32,}")


def picture(number: int) -> bytes:
    """The canary face as JPEG, moving a little; its comment is :data:`MARK`."""
    image = data.astronaut()[20:300, 80:380, ::-1]
    shift = np.float32([[1, 0, 6 * np.sin(number / 9)], [0, 1, 4 * np.cos(number / 7)]])
    moved = cv2.resize(cv2.warpAffine(image, shift, (300, 280), borderMode=cv2.BORDER_REFLECT), (640, 480))
    jpeg: bytes = cv2.imencode(".jpg", moved)[1].tobytes()
    return jpeg[:2] + b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK + jpeg[2:]


@dataclass(frozen=True)
class Search:
    """Looks for the first ``pictures`` canary pictures and for ``secrets``."""

    needles: dict[bytes, str]

    @classmethod
    def of(cls, secrets: tuple[str, ...], pictures: int = 30) -> Search:
        """All forms of what must not be found, and what each is."""
        needles: dict[bytes, str] = {}
        for what in (MARK, *(s.encode() for s in secrets)):
            needles |= dict.fromkeys(_forms(what), f"{what.decode()}")
        for number in range(pictures):
            jpeg = picture(number)
            for at in range(2000, len(jpeg) - 64, 4000):
                needles |= dict.fromkeys(_forms(jpeg[at : at + 32]), "bytes of the picture")
            needles |= dict.fromkeys(_pixels(jpeg), "pixels of the picture")
        return cls(needles)

    def traces(self, content: bytes) -> set[str]:
        """What of it is in ``content``; empty when all is well."""
        found = {what for needle, what in self.needles.items() if needle in content}
        found |= {f"an image: {magic!r}" for magic in _IMAGES if magic in content}
        if _is_text(content):
            found |= {"a long string" for _ in _LONG_STRING.finditer(content)}
            found |= {"a long list of numbers" for _ in _LONG_LIST.finditer(content)}
        elif any(content) and not content.startswith(b"SQLite format 3\0"):
            found.add("neither text nor a database")
        return found

    def traces_in(self, file: Path) -> set[str]:
        """As :meth:`traces`; of a database every cell as well. Its companions (-wal, -shm) are searched for needles."""
        content = file.read_bytes()
        found = self.traces(content)
        if file.name.endswith(("-wal", "-shm")):
            found.discard("neither text nor a database")
        if content.startswith(b"SQLite format 3\0"):
            for cell in _cells(file):
                found |= self.traces(cell)
        return found


def _cells(file: Path) -> list[bytes]:
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in tables for row in database.execute(f'SELECT * FROM "{name}"')]
    finally:
        database.close()
    cells = [cell for row in rows for cell in row if isinstance(cell, str | bytes)]
    return [cell.encode() if isinstance(cell, str) else cell for cell in cells]


def _is_text(content: bytes) -> bool:
    try:
        return content.decode().isprintable() or not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", content)
    except UnicodeDecodeError:
        return False


def _forms(what: bytes) -> list[bytes]:
    """Raw, hex, and base64 at each of the three alignments it can have within something longer."""
    shifted = [base64.b64encode(b"\0" * n + what)[4 if n else 0 : -4] for n in range(3)]
    return [what, what.hex().encode(), *shifted]


def _pixels(jpeg: bytes) -> list[bytes]:
    """Runs of pixels across the face, in the orders in which they are kept in memory."""
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    images = (bgr, bgr[:, :, ::-1], cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    runs = [image[row, 280:300].tobytes() for image in images for row in range(120, 320, 20)]
    return [form for run in runs if len(set(run)) > 6 for form in _forms(run)]
