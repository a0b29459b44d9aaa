"""What a person, a collector and journald get to read."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.domain.text import Redactor
from edge_agent.runtime.logs import Cleaner, JournalFormatter, JsonFormatter, LogFormat, formatter


def record(message: str = "lost %s", *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("edge_agent.x", level, __file__, 1, message, args or ("the camera",), None)


def failed() -> logging.LogRecord:
    try:
        raise ValueError("dark")
    except ValueError:
        return logging.LogRecord("edge_agent.x", logging.ERROR, __file__, 1, "camera failed", (), sys.exc_info())


def test_json_is_one_object_a_line_with_the_traceback_inside() -> None:
    style = formatter("json", {})
    for found in (record(), failed()):
        line = style.format(found)
        assert "\n" not in line
        fields = json.loads(line)
        assert (fields["logger"], fields["thread"], fields["message"]) == (
            "edge_agent.x",
            "MainThread",
            found.getMessage(),
        )
        assert abs(fields["time"] - found.created) < 0.001
        assert fields["level"] in ("warning", "error")
        assert ("exception" in fields) == (found.exc_info is not None)
    assert "ValueError: dark" in json.loads(style.format(failed()))["exception"]


def test_journald_gets_the_priority_on_every_line() -> None:
    style = JournalFormatter("%(name)s: %(message)s")
    assert style.format(record()) == "<4>edge_agent.x: lost the camera"
    lines = style.format(failed()).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)
    for level, priority in ((logging.DEBUG, 7), (logging.INFO, 6), (logging.ERROR, 3), (logging.CRITICAL, 2), (25, 6)):
        assert style.format(record(level=level)).startswith(f"<{priority}>")


def test_text_has_the_time_in_utc() -> None:
    line = formatter("text", {}).format(record())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING edge_agent\.x: lost the camera", line)


def test_auto_takes_stderr_for_journald_only_when_it_is(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as stream:
        stat = os.fstat(stream.fileno())
        journal = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        inherited = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino + 1}"}
        assert isinstance(formatter("auto", journal, stream.fileno()), JournalFormatter)
        assert not isinstance(formatter("auto", inherited, stream.fileno()), JournalFormatter)
        assert not isinstance(formatter("auto", {}, stream.fileno()), JournalFormatter)
        assert not isinstance(formatter("text", journal, stream.fileno()), JournalFormatter)
        assert isinstance(formatter("json", journal, stream.fileno()), JsonFormatter)
    assert not isinstance(formatter("auto", journal, 9999), JournalFormatter)


CONFIGURED = """
import logging
from edge_agent.runtime.logs import configure
configure("debug", "json")
configure("warning", "json")
log = logging.getLogger("edge_agent.test")
log.info("not shown")
log.warning("shown \\udce9")
print("out")
"""


def test_configure_writes_to_stderr_from_its_level_up_and_once() -> None:
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "out\n"
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith("shown ")


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_and_no_command_to_a_terminal_gets_out(style: LogFormat) -> None:
    """Not in a message, not in its arguments, not in a traceback."""
    try:
        raise OSError("cannot open rtsp://me:NotTelling1@cam/x\x1b[2J") from ValueError("password NotTelling2")
    except OSError:
        trouble = sys.exc_info()
    said = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s\nERROR forged", ("\x1b]0;t\x07NotTelling2",), trouble)
    assert Cleaner(Redactor(["NotTelling2"]).text).filter(said)
    text = formatter(style, {}).format(said)
    assert "NotTelling" not in text
    assert "\x1b" not in text
    assert "\\u001b" not in text
    assert "\nERROR forged" not in text
    assert "cannot open rtsp://***" in text
