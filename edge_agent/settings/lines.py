"""Where in a TOML text each key stands, so that an error can name its line.

``tomllib`` gives values without positions. This reads the same grammar for positions alone: tables, arrays of tables,
dotted and quoted keys, inline tables and arrays, over any number of lines. It expects text that ``tomllib`` accepted;
of other text it makes what it can and never fails.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

KeyPath = tuple[str, ...]
"""Keys from the root of the document; the place in an array counts as a key (``"0"``)."""

_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<string>"{3}(?:\\.|[^\\])*?"{3,5}(?!") | '{3}.*?'{3,5}(?!') | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<mark>[\[\]{}=,.])
    | (?P<bare>[^\s\[\]{}=,."'\#]+)
    | (?P<stray>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def find_line(text: str, path: KeyPath) -> int | None:
    """Line (from 1) of the deepest part of ``path`` that ``text`` spells out; None when it has not even its table."""
    lines = key_lines(text)
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line on which each table, key and array member of ``text`` first appears."""
    return _Scan(text).lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._tokens = list(_tokenise(text))
        self._at = 0
        self._arrays: dict[KeyPath, int] = {}
        self._document()

    def _document(self) -> None:
        table: KeyPath = ()
        while self._at < len(self._tokens):
            if self._take("newline"):
                continue
            if self._take("mark", "["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        several = self._take("mark", "[")
        line, keys = self._keys()
        while self._take("mark", "]"):
            pass
        path: KeyPath = ()
        for n, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if several and n == len(keys) - 1:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, str(self._arrays[path]))
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> None:
        line, keys = self._keys()
        for n in range(len(keys)):
            self.lines.setdefault(table + keys[: n + 1], line)
        if self._take("mark", "="):
            self._value(table + keys)
        elif not keys:
            self._at += 1  # nothing that TOML knows: step over it

    def _keys(self) -> tuple[int, KeyPath]:
        """A dotted key and its line."""
        line = self._tokens[self._at].line if self._at < len(self._tokens) else 0
        keys: list[str] = []
        while self._peek("bare") or self._peek("string"):
            keys.append(_plain(self._tokens[self._at]))
            self._at += 1
            if not self._take("mark", "."):
                break
        return line, tuple(keys)

    def _value(self, path: KeyPath) -> None:
        if self._take("mark", "["):
            self._array(path)
        elif self._take("mark", "{"):
            self._inline_table(path)
        else:
            while self._peek("bare") or self._peek("string") or self._peek("mark", "."):
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        place = 0
        while self._at < len(self._tokens) and not self._take("mark", "]"):
            if self._take("newline"):
                continue
            if self._take("mark", ","):
                place += 1
                continue
            start = self._at
            self.lines.setdefault((*path, str(place)), self._tokens[start].line)
            self._value((*path, str(place)))
            self._at = max(self._at, start + 1)

    def _inline_table(self, path: KeyPath) -> None:
        while self._at < len(self._tokens) and not self._take("mark", "}"):
            if not (self._take("newline") or self._take("mark", ",")):
                self._pair(path)

    def _peek(self, kind: str, text: str | None = None) -> bool:
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        return token.kind == kind and (text is None or token.text == text)

    def _take(self, kind: str, text: str | None = None) -> bool:
        found = self._peek(kind, text)
        self._at += found
        return found


def _tokenise(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "skip":
            yield _Token(kind, match.group(), line)
        line += match.group().count("\n")


def _plain(token: _Token) -> str:
    """A key without its quotes and escapes."""
    if token.kind == "bare":
        return token.text
    try:
        return str(tomllib.loads(f"key = {token.text}")["key"])
    except tomllib.TOMLDecodeError:
        return token.text
