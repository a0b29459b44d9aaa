"""Standard streams and plain output of the commands: no terminal library and no configuration is imported.

Results go to standard output, messages to standard error. What the locale cannot encode is escaped. An output that
cannot be written is a one-line error.
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

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.text import printable

_BEYOND_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that JSON allows in a string but that disturb terminals or cannot be encoded."""


class OutputError(EdgeAgentError):
    """Standard output cannot be written. ``closed``: its reader is gone, which is not reported."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.closed = error.errno == errno.EPIPE


class _Output(io.TextIOWrapper):
    """Standard output that escapes what the locale cannot encode. Raises OutputError."""

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
    """Standard error whose write failures are ignored: what cannot be written is lost."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Replace standard output and standard error by the streams above. Called once, at the start."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: no other file may get its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _wrapped(_Output, sys.stdout)
    sys.stderr = _wrapped(_Messages, sys.stderr)


def _wrapped(kind: type[io.TextIOWrapper], stream: Any) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    encoding, interactive = stream.encoding, stream.line_buffering
    if kind is _Messages:
        # A descriptor of its own: descriptor 2 is redirected while native libraries' lines are captured.
        raw = os.fdopen(os.dup(2), "wb", buffering=0)
        return kind(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True)
    return kind(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=interactive)


def give_up_output() -> None:
    """Discard buffered output, so that writing it is not tried again at exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def emit(text: str, end: str = "\n") -> None:
    """Write text for programs to standard output, as it is."""
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


def to_json(value: Any, indent: int | None = None) -> str:
    """Format ``value`` as JSON that standard output can encode; bytes that are not UTF-8 are escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=str)
    text = _BEYOND_JSON.sub(lambda match: _in_json(match.group()), text)
    if "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower():
        text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match.group())[1:-1], text)
    return text


def _in_json(character: str) -> str:
    if "\ud800" <= character <= "\udfff":  # a lone surrogate: most parsers refuse its escape as well
        return json.dumps(printable(character))[1:-1]
    return json.dumps(character)[1:-1]


def print_json(value: Any) -> None:
    """Print one indented JSON document on standard output."""
    emit(to_json(value, indent=2))
