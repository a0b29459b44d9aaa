"""Word what a stranger's code raised in one line, and find the file and line where it did."""

from __future__ import annotations

import traceback
from pathlib import Path

import edge_agent
from edge_agent.domain.errors import EdgeAgentError

_CORE = Path(edge_agent.__file__).parent


def reason(error: BaseException) -> str:
    """Our own errors say what to do; others are named. sys.exit() and native panics count; only Ctrl-C is passed on."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgeAgentError) else f"{type(error).__name__}: {text}"


def where(error: BaseException) -> str:
    """File and line of the stranger's code that raised, ``package/module.py:12``; empty for our own errors.

    It is the deepest line within the folder of the code that the core called, not of a library below it.
    """
    if isinstance(error, EdgeAgentError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not Path(f.filename).is_relative_to(_CORE)]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    frames = [f for f in frames if Path(f.filename).is_absolute() and "importlib" not in Path(f.filename).parts]
    if not frames:
        return ""
    home = Path(frames[0].filename).parent
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(home)]
    return f"{_short(own[-1].filename)}:{own[-1].lineno}"


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


def explain(error: BaseException) -> str:
    """:func:`reason`, and :func:`where` in brackets when it is known."""
    place = where(error)
    return f"{reason(error)} ({place})" if place else reason(error)
