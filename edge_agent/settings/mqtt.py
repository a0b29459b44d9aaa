"""The ``[mqtt]`` table: the broker's address, parsed once and strictly, and the topic prefix.

Whoever takes a host from somewhere else than the config file (``watch --host``) goes through :func:`with_address`, so
that there is one rule and one set of hints. Errors never repeat what could be a password.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from edge_agent.domain.errors import ConfigError
from edge_agent.settings.source import HomePath

SCHEMES = {
    "mqtt": (False, "tcp"),
    "tcp": (False, "tcp"),
    "mqtts": (True, "tcp"),
    "ssl": (True, "tcp"),
    "tls": (True, "tcp"),
    "ws": (False, "websockets"),
    "http": (False, "websockets"),
    "wss": (True, "websockets"),
    "https": (True, "websockets"),
}
"""What people write before ``://``: whether it means TLS, and the transport."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What no topic, client id or user name may hold: brokers close the connection."""

LONGEST_PREFIX = 200


def broker_host(text: str) -> str:
    """``text`` if it is a bare IP address or host name (then in ASCII). Raises ValueError: what to write instead."""
    host = text if _ip(text) is not None else _ascii(text)
    if host is None:
        raise ValueError(_advice(text))
    return host


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _ascii(text: str) -> str | None:
    """The host name as it is looked up; None when it is none. A number alone would be taken for an old form of IPv4."""
    try:
        name = text.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", labels[-1]) and _ip(name) is None else name


def _advice(text: str) -> str:
    """What to write instead of ``text``, which is no host."""
    if not text.strip():
        return "must be the broker's name or address, as broker.local or 192.0.2.7"
    scheme, rest = _split_scheme(text.strip())
    _login, at, rest = rest.rpartition("@")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    host, port = _split_port(authority)
    good = _host_in(host)
    if good is None:
        # What stands before an @ may be a password, and so may anything that cannot be told apart from it.
        shown = "" if at or "=" in text else f"{text[:80]!r} "
        return f"{shown}is no host name or address: write a bare one, as broker.local, 192.0.2.7 or 2001:db8::7"
    lines = [f"host = {_quoted(good)}"]
    if port:
        lines.append(f"port = {int(port)}" if _is_port(port) else "port = 1 to 65535")
    tls, transport = SCHEMES.get(scheme, (False, "tcp"))
    lines += ["tls.enabled = true"] if tls else []
    if transport == "websockets":
        lines.append('transport = "websockets"')
        lines += [f"websocket_path = {_quoted(path)}"] if path.startswith("/") and len(path) > 1 and not at else []
    lines += ["username and password_file"] if at else []
    return f"takes the bare name or address only: write {', '.join(lines)} in [mqtt]"


def _split_scheme(text: str) -> tuple[str, str]:
    """Scheme in lower case ("" if there is none) and the rest. ``mqtt:1883`` is a host called mqtt and a port."""
    scheme, separator, rest = text.partition("://")
    if separator:
        return scheme.lower(), rest
    found = re.match(r"([a-z]+):/*(?=[^\d/])", text, re.IGNORECASE)
    if found and found[1].lower() in SCHEMES:
        return found[1].lower(), text[found.end() :]
    return "", text


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) < 65536


def _split_port(text: str) -> tuple[str, str]:
    """Host and port of an authority; IPv6 addresses may stand in brackets or not."""
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        return bracketed[1], bracketed[2] or ""
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, ""


def _host_in(text: str) -> str | None:
    text = text.strip().rstrip(".")
    return text if _ip(text) else _ascii(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def topic_prefix(text: str) -> str:
    """``text`` as the first levels of topics, slashes at its end dropped. Raises ValueError for what cannot be that."""
    prefix = text.rstrip("/")
    levels = prefix.split("/")
    if not prefix:
        raise ValueError('must be the first level or levels of a topic, as "edge-agent" or "home/edge"')
    if any(sign in prefix for sign in "+#"):
        raise ValueError("+ and # are wildcards of subscriptions and cannot stand in a topic")
    if _UNSENDABLE.search(prefix) or re.search(r"\s", prefix):
        raise ValueError("spaces and control characters cannot stand in a topic prefix")
    if prefix.startswith("$"):
        raise ValueError("topics that begin with $ belong to the broker")
    if "" in levels:
        whole = "/".join(level for level in levels if level)
        raise ValueError(f"has an empty level, which is a topic of its own: write {_quoted(whole)}")
    if len(prefix.encode()) > LONGEST_PREFIX:
        raise ValueError(f"is longer than {LONGEST_PREFIX} bytes")
    return prefix


def _sendable(text: str) -> str:
    if _UNSENDABLE.search(text):
        raise ValueError("control characters cannot be sent to a broker")
    return text


def _web_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError('must be a path as in a URL, as "/mqtt": it begins with / and has no spaces')
    return text


TopicPrefix = Annotated[str, AfterValidator(topic_prefix)]
"""The first level or levels of topics, without a slash at the end."""


class TlsSettings(BaseModel):
    """Encryption towards the broker; the server's certificate and name are always verified."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=False, description="Use TLS.")
    ca_file: HomePath | None = Field(default=None, description="CA certificates to trust instead of the system's.")
    cert_file: HomePath | None = Field(default=None, description="Client certificate, PEM.")
    key_file: HomePath | None = Field(default=None, description="Key of the client certificate, PEM.")

    @model_validator(mode="after")
    def _paired(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        return self


class MqttSettings(BaseModel):
    """The broker that receives summaries."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Publish over MQTT.")
    host: Annotated[str, AfterValidator(broker_host)] = Field(
        default="localhost", description="Broker's host name or address, without mqtt:// and without a port."
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Broker's port. Default: 1883, with TLS 8883; over websockets 80 and 443 (mosquitto: often 9001).",
    )
    transport: Literal["tcp", "websockets"] = Field(
        default="tcp", description="websockets: MQTT inside of a WebSocket, for networks that let only the web through."
    )
    websocket_path: Annotated[str, AfterValidator(_web_path)] = Field(
        default="/mqtt", description='Path of the broker\'s WebSocket; only with transport = "websockets".'
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto", description="auto tries MQTT 5 and falls back to 3.1.1 when the broker refuses it."
    )
    username: Annotated[str, AfterValidator(_sendable)] | None = Field(default=None, description="User name.")
    password: SecretStr | None = Field(
        default=None, description="Password; better in password_file or a systemd credential called mqtt-password."
    )
    password_file: HomePath | None = Field(default=None, description="File whose first line is the password.")
    client_id: Annotated[str, AfterValidator(_sendable)] | None = Field(
        default=None, max_length=64, description="Default: edge-agent-<device id>."
    )
    prefix: TopicPrefix = Field(default="edge-agent", description="First level or levels of every topic.")
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="Seconds between pings on an idle connection.")
    in_flight: int = Field(default=20, ge=1, le=1000, description="Unacknowledged messages at a time.")
    detect_namesakes: bool = Field(
        default=True,
        description="Read this device's own status, info and summary, to notice another agent with the same device.id; "
        "the broker must allow that.",
    )
    tls: TlsSettings = TlsSettings()

    @property
    def effective_port(self) -> int:
        """The port, or the default of the protocol and transport."""
        if self.port is not None:
            return self.port
        if self.transport == "websockets":
            return 443 if self.tls.enabled else 80
        return 8883 if self.tls.enabled else 1883

    @model_validator(mode="after")
    def _one_password(self) -> MqttSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file exclude each other: keep password_file")
        return self


def with_address(settings: MqttSettings, host: str | None = None, port: int | None = None) -> MqttSettings:
    """``settings`` for the broker that a command line names instead, under the same rules.

    Raises:
        ConfigError: ``host`` or ``port`` is none.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        checked = MqttSettings.model_validate({"host": settings.host, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None
    return settings.model_copy(update={name: getattr(checked, name) for name in given})
