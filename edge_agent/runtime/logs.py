"""Log output: text for people, JSON for collectors, ``<n>`` priority prefixes for journald. Always to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Literal

LogFormat = Literal["auto", "text", "json"]

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JournalFormatter(logging.Formatter):
    """Prefixes every line with its syslog priority, as sd-daemon(3) describes; journald strips it."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, logger, message, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def formatter(style: LogFormat, environment: Mapping[str, str], descriptor: int = 2) -> logging.Formatter:
    """The formatter for ``style``; ``auto`` asks whether ``descriptor`` (stderr) is journald's."""
    if style == "json":
        return JsonFormatter()
    if style == "auto" and _is_journal(environment.get("JOURNAL_STREAM", ""), descriptor):
        return JournalFormatter("%(name)s: %(message)s")
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    text.converter = time.gmtime
    return text


def _is_journal(stream: str, descriptor: int) -> bool:
    """Whether ``descriptor`` is the ``device:inode`` that systemd named; children inherit the name in any case."""
    try:
        stat = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{stat.st_dev}:{stat.st_ino}"


def configure(level: str, style: LogFormat = "auto") -> None:
    """Send everything of ``level`` and above to stderr. Called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(style, os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
