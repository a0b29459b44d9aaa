"""The broker's password and the TLS context, read anew for every connection so that both can be rotated.

No secret is ever part of an error or a log line.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from edge_agent.domain.errors import ConfigError
from edge_agent.settings.files import read_secret
from edge_agent.settings.mqtt import MqttSettings, TlsSettings

CREDENTIAL = "mqtt-password"
"""Name of the systemd credential."""


def password(settings: MqttSettings) -> str | None:
    """The password from the setting, its file or ``$CREDENTIALS_DIRECTORY``. Raises ConfigError: unreadable."""
    if settings.password is not None:
        return settings.password.get_secret_value()
    path = settings.password_file
    if path is None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        path = Path(folder) / CREDENTIAL if folder else None
        if path is None or not path.exists():
            return None
    return read_secret(path, "the password")


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context that verifies the broker's certificate and name. Raises ConfigError for unusable files."""
    for path in (settings.ca_file, settings.cert_file, settings.key_file):
        if path is not None and not path.exists():
            raise ConfigError(f"{path}: no such file; see mqtt.tls")
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        if settings.cert_file and settings.key_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.tls: a certificate or key cannot be used: {error}") from error
    return context
