"""Every error the agent raises on purpose: one line that says what is wrong and what to do about it.

The command line prints ``str(error)`` and exits with ``exit_code``; a bug is anything that is not an
:class:`EdgeAgentError`.
"""

from __future__ import annotations


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


class ModelError(EdgeAgentError):
    """A model is missing, unknown, or not the file it should be."""

    exit_code = 4


class PluginError(EdgeAgentError):
    """A plugin cannot be loaded, configured or run."""

    exit_code = 5


class DeliveryError(EdgeAgentError):
    """Summaries cannot be stored or sent."""

    exit_code = 6


class AlreadyRunningError(DeliveryError):
    """Another agent holds the same state directory."""

    exit_code = 7
