"""What native libraries write straight to standard error, led into the log."""

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
"""How lines of TensorFlow Lite, abseil, ALSA, PortAudio, JACK and OpenCV begin."""

_one_at_a_time = threading.Lock()
"""Standard error belongs to the process, so only one thread at a time may turn it aside."""


@contextmanager
def native_lines(log: logging.Logger) -> Iterator[None]:
    """While inside, such lines become debug messages of ``log``; everything else is written when it is over.

    For short calls: standard error of the whole process is turned aside meanwhile.
    """
    with _one_at_a_time:
        try:
            kept, caught = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
        except OSError:  # closed, or no descriptor left: then without
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
