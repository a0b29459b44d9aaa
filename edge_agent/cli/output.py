"""Everything that the commands write: text for people, JSON and CSV for programs, errors in one line.

Names, payloads and error texts come from others. None of them is markup, none can command the terminal, and none that
cannot be encoded ends the program: it is spelled out. When the output itself cannot be written, that is one line, too.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import printable

_BEYOND_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON allows in a string and a terminal or an encoder does not take well."""


class OutputError(EdgeAgentError):
    """Standard output cannot be written. ``closed``: its reader has gone, which is no reason to complain."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.closed = error.errno == errno.EPIPE


class _Output(io.TextIOWrapper):
    """Standard output that spells out what the locale cannot show. Raises OutputError."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from None


class _Messages(io.TextIOWrapper):
    """Standard error that never is a reason to stop: what cannot be written there is lost."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Make standard output and standard error as described above. Called once, by the command."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: nothing else may be opened under its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _wrapped(_Output, sys.stdout)
    sys.stderr = _wrapped(_Messages, sys.stderr)


def _wrapped(kind: type[io.TextIOWrapper], stream: Any) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    encoding, interactive = stream.encoding, stream.line_buffering
    if kind is _Messages:
        # Under a number of its own it is out of the way when native libraries' lines are caught under theirs.
        raw = os.fdopen(os.dup(2), "wb", buffering=0)
        return kind(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True)
    return kind(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=interactive)


def give_up_output() -> None:
    """Let nothing of what is still buffered be tried again at the end of the process."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


class _Console(Console):
    """A console on which text is text."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def out() -> Console:
    """Standard output, for tables."""
    return _Console(markup=False, emoji=False, highlight=False)


def err() -> Console:
    """Standard error: progress and messages, so that stdout stays clean."""
    return _Console(stderr=True, markup=False, emoji=False, highlight=False)


def line(*parts: str | tuple[str, str]) -> Text:
    """One line from texts and (text, style) pairs, whatever stands in them."""
    fit = (printable(p, lines=False) if isinstance(p, str) else (printable(p[0], lines=False), p[1]) for p in parts)
    return Text.assemble(*fit)


def say(*parts: str | tuple[str, str]) -> None:
    """Print one line on standard output, never wrapped."""
    out().print(line(*parts), soft_wrap=True)


def tell(*parts: str | tuple[str, str]) -> None:
    """Print one line on standard error, never wrapped."""
    err().print(line(*parts), soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Print a table."""
    out().print(renderable)


def emit(text: str, end: str = "\n") -> None:
    """Write text for programs."""
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that is valid in the encoding of standard output; names that are not UTF-8 are spelled out in it."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=str)
    text = _BEYOND_JSON.sub(lambda match: _in_json(match.group()), text)
    if "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower():
        text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match.group())[1:-1], text)
    return text


def _in_json(character: str) -> str:
    if "\ud800" <= character <= "\udfff":  # no Unicode: most parsers refuse its escape as well
        return json.dumps(printable(character))[1:-1]
    return json.dumps(character)[1:-1]


def print_json(value: Any) -> None:
    """One indented JSON document on stdout."""
    emit(to_json(value, indent=2))
