"""Log output: text for people, JSON for collectors, ``<n>`` priority prefixes for journald. Always to stderr.

Secrets are masked and control characters escaped on the way out, whatever a message contains.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal

from edge_agent.domain.text import mask_addresses, printable

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
        if record.exc_info or record.exc_text:
            fields["exception"] = record.exc_text or (record.exc_info and self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


class Cleaner(logging.Filter):
    """Remove secrets, by ``redact``, and control characters from messages and tracebacks; every record passes."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact
        self._tracebacks = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place."""
        # Indented, the second line of a message cannot pass for another message.
        record.msg, record.args = self._clean(record.getMessage()).replace("\n", "\n    "), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._tracebacks.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._clean(record.exc_text)
        return True

    def _clean(self, text: str) -> str:
        return printable(self._redact(text))


def formatter(style: LogFormat, environment: Mapping[str, str], descriptor: int = 2) -> logging.Formatter:
    """The formatter for ``style``; ``auto``: journald's if ``descriptor`` (stderr) is connected to the journal."""
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


def configure(level: str, style: LogFormat = "auto", redact: Callable[[str], str] = mask_addresses) -> None:
    """Log ``level`` and above to stderr, redacted by ``redact``.

    Called by the command line, once for each configuration.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Cleaner(redact))
    handler.setFormatter(formatter(style, os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
