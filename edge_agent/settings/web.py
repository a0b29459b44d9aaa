"""The ``[web]`` table: the device's own web side, off unless asked for."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
"""What can be sent in headers, in cookies and in addresses alike."""
WANTED = "at least 16 letters and digits, e.g. from 'openssl rand -hex 16'"

HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""A name or an address as browsers send it, without its port."""


class WebSettings(BaseModel):
    """The device's own web side: dashboard, live API and compatible endpoints. Needs the extra ``web``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    token_file: Path | None = Field(
        default=None, description="File whose first line is the token. Default: <state_dir>/web-token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names under which browsers may ask for it, besides those of this machine's loopback."
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
