"""The ``[web]`` table: dashboard and web API, off by default."""

from __future__ import annotations

import ipaddress
import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from edge_agent.settings.source import HomePath

TOKEN_FILE = "web-token"
"""File in the state directory with the token that the agent generates."""

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
"""Tokens that can be sent in headers, cookies and URLs."""
WANTED = "at least 16 letters and digits, e.g. from 'openssl rand -hex 16'"

HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""Host name or address as browsers send it, without port."""


ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
"""Origin as browsers send it: scheme, host, and port unless it is the scheme's default."""
_OWN_PORT = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """Normalise an origin to the form that browsers send. Raises ValueError."""
    if text in ("*", "null"):
        return text
    scheme, mark, rest = text.strip().lower().partition("://")
    try:
        host = rest if rest.isascii() else rest.encode("idna").decode("ascii")
    except UnicodeError:
        host = rest
    found = ORIGIN.fullmatch(scheme + mark + host)
    if found is None:
        raise ValueError(
            f'allowed_origins: {text!r}: scheme, host and port without a path, as in "https://kiosk.example" or '
            '"http://192.0.2.7:3000"; or "*" or "null"'
        )
    port = found[3]
    return f"{found[1]}://{found[2]}" + (f":{port}" if port and port != _OWN_PORT.get(found[1]) else "")


ANALYSIS_SOCKETS = 5
"""Sockets with ``analysis_clients`` connections each: Hume's, and Echo's for faces, sound, text and recognition."""
SPARE = 64
"""Connections at a time besides live and analysis sockets, and newcomers accepted at once."""
OWN_DESCRIPTORS = 192
"""Files, devices, pipes and models that an agent has open besides the connections of its web side."""


class WebSettings(BaseModel):
    """Dashboard and web API of the device. Needs the extra ``web``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=False, description="Serve dashboard and API.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Others than loopback need token_file; put a proxy with TLS in front.",
    )
    port: int = Field(default=8765, ge=1, le=65535, description="Port to listen on.")
    token: SecretStr | None = Field(
        default=None,
        description="Token that clients must send. Prefer token_file. Default: generated at the first start.",
    )
    token_file: HomePath | None = Field(
        default=None, description="File whose first line is the token. Default: <state_dir>/web-token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Host names that browsers may use for this device, besides those of loopback."
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description='Origins of other web pages that may use the API with the token, as "https://kiosk.example"; "*": '
        'all, "null": local files.',
    )
    control: bool = Field(default=True, description="Allow clients with the token to send commands, as over MQTT.")
    preview: bool = Field(
        default=False,
        description="Allow clients with the token to see the camera's latest picture. Not with privacy.min_people.",
    )
    clients: int = Field(
        default=128, ge=1, le=4096, description="Maximum number of live connections; more are refused."
    )
    analysis_clients: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Maximum number of connections to each socket that analyses what it is sent; more are refused.",
    )
    heartbeat_s: float = Field(
        default=20.0,
        ge=1,
        le=600,
        description="Ping WebSockets this often, in seconds, and drop those that do not answer.",
    )
    echo_environment: bool = Field(
        default=False,
        description="Also take the environment variables of the Echo backend: CAMERA_INDEX, MAX_FPS, "
        "WS_MAX_CONNECTIONS, WS_HEARTBEAT_INTERVAL, EMOTION_WINDOW_SIZE and FACE_RECOGNITION_THRESHOLD.",
    )

    @property
    def connections(self) -> int:
        """Most connections of all kinds at a time."""
        return self.clients + ANALYSIS_SOCKETS * self.analysis_clients + SPARE

    @property
    def descriptors(self) -> int:
        """Open files and sockets that a process with so many connections may need."""
        return self.connections + OWN_DESCRIPTORS

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @field_validator("allowed_origins")
    @classmethod
    def _as_browsers_write(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(text) for text in origins)

    @model_validator(mode="after")
    def _guarded(self) -> WebSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file exclude each other: keep token_file")
        if self.token is not None and not TOKEN.fullmatch(self.token.get_secret_value()):
            raise ValueError(f"token: {WANTED}")
        for name in self.allowed_hosts:
            if not HOST.fullmatch(name):
                raise ValueError(
                    f"allowed_hosts: {name!r}: a name or address without scheme and port, IPv6 in brackets"
                )
        if self.enabled and not self.loopback and self.token is None and self.token_file is None:
            raise ValueError(
                f"host = {self.host!r} can be reached from other machines: set token_file, or listen on 127.0.0.1"
            )
        return self
