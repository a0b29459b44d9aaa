"""Every error the agent raises on purpose: one line that says what is wrong and what to do about it.

The command line prints ``str(error)`` and exits with ``exit_code``; a bug is anything that is not an
:class:`EdgeAgentError`.
"""

from __future__ import annotations

import errno


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
    """A camera or microphone is absent now and may come back."""


def denial(error: PermissionError) -> str:
    """Why a device node may not be opened, and what to do: its mode, or the device policy of the systemd unit."""
    if error.errno == errno.EPERM:  # a file's mode answers EACCES
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
    """What was asked of a running agent is not allowed, or makes no sense now: it was not tried."""


class AlreadyRunningError(DeliveryError):
    """Another agent holds the same state directory."""

    exit_code = 7
