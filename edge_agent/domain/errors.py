"""Exceptions of the agent, each with a one-line text that says what is wrong and what to do.

The command line prints ``str(error)`` and exits with ``exit_code``; any other exception is a bug.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path


class EdgeAgentError(Exception):
    """Base of all expected failures."""

    exit_code = 1


class ConfigError(EdgeAgentError):
    """The configuration cannot be used."""

    exit_code = 2


class MediaError(EdgeAgentError):
    """A file or stream cannot be read, or a device is lost."""

    exit_code = 3


class DeviceUnavailableError(MediaError):
    """A camera or microphone is absent, and worth another attempt."""


def denial(error: PermissionError) -> str:
    """Explain why a device node may not be opened, by its mode or by the device policy of the systemd unit."""
    if error.errno == errno.EPERM:  # a file's mode gives EACCES
        return (
            "the service's device policy forbids it: run 'sudo systemctl restart edge-agent', and if that "
            "does not help, add a DeviceAllow= with 'sudo systemctl edit edge-agent'"
        )
    return "this user is not in the group that owns it: see 'ls -l' of it, and 'edge-agent doctor'"


class ModelError(EdgeAgentError):
    """A model is missing, unknown, or not the file it should be."""

    exit_code = 4


class PluginError(EdgeAgentError):
    """A plugin cannot be loaded, configured or run."""

    exit_code = 5


class DeliveryError(EdgeAgentError):
    """Summaries cannot be stored or sent."""

    exit_code = 6


class RefusedError(EdgeAgentError):
    """A command to a running agent is not allowed or not possible now; it was not tried."""


class AlreadyRunningError(DeliveryError):
    """Another agent holds the same state directory."""

    exit_code = 7


# ---------------------------------------------------------------------- explaining exceptions of plugins


_CORE = Path(__file__).parents[1]


def reason(error: BaseException) -> str:
    """Explain an exception in one line, with its type unless it is our own. KeyboardInterrupt is re-raised."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgeAgentError) else f"{type(error).__name__}: {text}"


def where(error: BaseException) -> str:
    """Return file and line of the plugin's code that raised, ``package/module.py:12``; empty for our own errors.

    It is the deepest frame within the folder of the plugin, not in a library that it calls.
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
    """Explain an exception by :func:`reason`, with :func:`where` in brackets when known."""
    place = where(error)
    return f"{reason(error)} ({place})" if place else reason(error)
