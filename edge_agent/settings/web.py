"""The ``[web]`` table: the device's own web side, off unless asked for."""

from __future__ import annotations

import ipaddress
import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from edge_agent.settings.source import HomePath

TOKEN_FILE = "web-token"
"""Where a token that the agent made up is kept, in the state folder."""

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
"""What can be sent in headers, in cookies and in addresses alike."""
WANTED = "at least 16 letters and digits, e.g. from 'openssl rand -hex 16'"

HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""A name or an address as browsers send it, without its port."""


ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
"""As browsers send it: scheme, host and port, of which they leave out the scheme's own."""
_OWN_PORT = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """``text`` as browsers write it. Raises ValueError that says what is wrong with it."""
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


class WebSettings(BaseModel):
    """The device's own web side: dashboard, live API and compatible endpoints. Needs the extra ``web``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=False, description="Serve it.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Other than loopback it needs a token of your own; use TLS in front of it.",
    )
    port: int = Field(default=8765, ge=1, le=65535, description="Port to listen on.")
    token: SecretStr | None = Field(
        default=None, description="What clients must know; better in token_file. Default: made up at the first start."
    )
    token_file: HomePath | None = Field(
        default=None, description="File whose first line is the token. Default: <state_dir>/web-token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names under which browsers may ask for it, besides those of this machine's loopback."
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description='Pages of other sites that may ask with the token, as in "https://kiosk.example"; "*": all, '
        '"null": files.',
    )
    control: bool = Field(
        default=True, description="Whether those who know the token may also switch and choose, as by MQTT commands."
    )
    preview: bool = Field(
        default=False,
        description="Whether those who know the token may also see the camera's latest picture. Not with "
        "privacy.min_people.",
    )
    clients: int = Field(default=128, ge=1, le=4096, description="Live connections at a time; more are refused.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
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
                f"host = {self.host!r} can be reached by others: give a token_file, or listen on 127.0.0.1"
            )
        return self
