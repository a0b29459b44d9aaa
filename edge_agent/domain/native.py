"""Redirect messages that native libraries write to standard error into the log."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = re.compile(
    r"(INFO|WARNING|ERROR|VERBOSE): |[IWE]\d{4} |ALSA lib |Expression '|jack|Jack|Cannot connect to server|\[ ?\w+:\d"
)
"""Prefixes of messages of TensorFlow Lite, abseil, ALSA, PortAudio, JACK and OpenCV."""

_one_at_a_time = threading.Lock()
"""Standard error belongs to the process, so only one thread at a time may redirect it."""


@contextmanager
def native_lines(log: logging.Logger) -> Iterator[None]:
    """Turn messages of native libraries into debug messages of ``log``; other output is written at the end.

    For short calls, since standard error of the whole process is redirected meanwhile.
    """
    with _one_at_a_time:
        try:
            kept, caught = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
        except OSError:  # closed, or no descriptor left: do not redirect
            yield
            return
        try:
            os.dup2(caught, 2)
            yield
        finally:
            os.dup2(kept, 2)
            with os.fdopen(caught, "rb") as file:
                file.seek(0)
                content = file.read()
            _tell(content, log)
            os.close(kept)


def _tell(content: bytes, log: logging.Logger) -> None:
    for line in content.splitlines(keepends=True):
        text = line.decode("utf-8", "replace").strip()
        if _CHATTER.match(text):
            log.debug("%s", text)
        else:
            os.write(2, line)
