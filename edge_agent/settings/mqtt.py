"""The ``[mqtt]`` table: the broker's address, parsed strictly, TLS, and the topic prefix.

A host from the command line (``watch --host``) goes through :func:`with_address`, under the same rules. Errors never
repeat what could be a password.
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
"""Schemes of broker URLs: whether they mean TLS, and the transport."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters not allowed in topics, client ids and user names: brokers close the connection."""

LONGEST_PREFIX = 200
MOST_HOSTS = 16


def broker_host(text: str) -> str:
    """Return ``text`` if it is a bare IP address or host name (in ASCII). Raises ValueError that says what to write."""
    host = text if _ip(text) is not None else _ascii(text)
    if host is None:
        raise ValueError(_advice(text))
    return host


def broker_address(text: str) -> str:
    """Return ``text``, a host or ``host:port``, in ASCII; an IPv6 address with a port is in brackets.

    Raises ValueError that says what to write.
    """
    host, port = _split_port(text)
    if (port.isdecimal() and not _is_port(port)) or (text.endswith(":") and _ip(text) is None):
        raise ValueError("has a port that is none: write 1 to 65535 after the colon, as broker-1.local:8883")
    try:
        host = broker_host(host if not port or _is_port(port) else text)
    except ValueError:
        raise ValueError(
            'takes names or addresses, each with its port where needed: write ["broker-1.local", "192.0.2.7:8883", '
            '"[2001:db8::7]:1883"]; login, TLS and transport are options of [mqtt] that hold for all of them'
        ) from None
    bare = f"[{host}]" if ":" in host and port else host
    return f"{bare}:{int(port)}" if port else bare


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _ascii(text: str) -> str | None:
    """Return the host name in ASCII; None when it is not valid. A bare number would be taken for an IPv4 address."""
    try:
        name = text.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", labels[-1]) and _ip(name) is None else name


def _advice(text: str) -> str:
    """Say what to write instead of ``text``, which is not a host."""
    if not text.strip():
        return "must be the broker's name or address, as broker.local or 192.0.2.7"
    scheme, rest = _split_scheme(text.strip())
    _login, at, rest = rest.rpartition("@")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    host, port = _split_port(authority)
    good = _host_in(host)
    if good is None:
        # Text before an @ may be a password, and so may text after a =.
        shown = "" if at or "=" in text else f"{text[:80]!r} "
        return f"{shown}is not a host name or address: write a bare one, as broker.local, 192.0.2.7 or 2001:db8::7"
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
    """Split into scheme in lower case ("" without one) and the rest. ``mqtt:1883`` is a host called mqtt and a port."""
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
    """Split into host and port; IPv6 addresses may be in brackets or not."""
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
    """Return ``text`` without slashes at its end, if it can begin topics. Raises ValueError."""
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
    """Encryption of the connection to the broker. The broker's certificate and host name are always verified."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=False, description="Use TLS.")
    ca_file: HomePath | None = Field(
        default=None, description="CA certificates (PEM) to trust instead of the system's."
    )
    cert_file: HomePath | None = Field(default=None, description="Client certificate, PEM.")
    key_file: HomePath | None = Field(default=None, description="Key of the client certificate, PEM.")

    @model_validator(mode="after")
    def _paired(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        return self


class MqttSettings(BaseModel):
    """Connection to the MQTT broker."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Publish over MQTT.")
    host: Annotated[str, AfterValidator(broker_host)] = Field(
        default="localhost", description="Host name or IP address of the broker, without mqtt:// and without a port."
    )
    hosts: tuple[Annotated[str, AfterValidator(broker_address)], ...] = Field(
        default=(),
        max_length=MOST_HOSTS,
        description='Several brokers instead of host, in order of preference, as ["broker-1.local", '
        '"broker-2.local:8883"]: when one fails, the next is tried. All other options hold for all of them.',
    )
    return_s: float = Field(
        default=600.0,
        ge=1,
        le=86_400,
        description="Go back to the first of hosts when it answers, after about this many seconds with another one.",
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the broker. Default: 1883, TLS 8883; websockets 80, TLS 443 (mosquitto often uses 9001).",
    )
    transport: Literal["tcp", "websockets"] = Field(
        default="tcp", description="tcp, or websockets for networks that allow web traffic only."
    )
    websocket_path: Annotated[str, AfterValidator(_web_path)] = Field(
        default="/mqtt", description='Path of the WebSocket; only with transport = "websockets".'
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto", description="MQTT version. auto: 5, or 3.1.1 when the broker refuses 5."
    )
    username: Annotated[str, AfterValidator(_sendable)] | None = Field(
        default=None, description="User name at the broker."
    )
    password: SecretStr | None = Field(
        default=None, description="Password. Prefer password_file or a systemd credential called mqtt-password."
    )
    password_file: HomePath | None = Field(default=None, description="File whose first line is the password.")
    client_id: Annotated[str, AfterValidator(_sendable)] | None = Field(
        default=None, max_length=64, description="MQTT client id. Default: edge-agent-<device id>."
    )
    prefix: TopicPrefix = Field(default="edge-agent", description="First level or levels of every topic.")
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="Keep-alive interval of the connection in seconds.")
    in_flight: int = Field(default=20, ge=1, le=1000, description="Maximum number of unacknowledged messages.")
    detect_namesakes: bool = Field(
        default=True,
        description="Detect another agent with the same device.id, by subscribing to this device's own status, info "
        "and summary; the broker must allow that.",
    )
    tls: TlsSettings = TlsSettings()

    @property
    def brokers(self) -> tuple[MqttSettings, ...]:
        """The settings for each broker in order of preference, with ``host`` and ``port`` and without ``hosts``."""
        if not self.hosts:
            return (self,)
        found = [_split_port(address) for address in self.hosts]
        return tuple(
            self.model_copy(update={"host": host, "port": int(port) if port else self.port, "hosts": ()})
            for host, port in found
        )

    @property
    def address(self) -> str:
        """Host and port of the broker, as ``broker.local:1883``."""
        return f"[{self.host}]:{self.effective_port}" if ":" in self.host else f"{self.host}:{self.effective_port}"

    @property
    def effective_port(self) -> int:
        """The configured port, or the default of transport and TLS."""
        if self.port is not None:
            return self.port
        if self.transport == "websockets":
            return 443 if self.tls.enabled else 80
        return 8883 if self.tls.enabled else 1883

    @model_validator(mode="after")
    def _one_list(self) -> MqttSettings:
        if self.hosts and "host" in self.model_fields_set:
            raise ValueError("host and hosts exclude each other: put the broker of host first into hosts")
        addresses = [broker.address for broker in self.brokers]
        twice = next((address for address in addresses if addresses.count(address) > 1), None)
        if twice is not None:
            raise ValueError(f"hosts names {twice} twice: name each broker once")
        return self

    @model_validator(mode="after")
    def _one_password(self) -> MqttSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file exclude each other: keep password_file")
        return self


def with_address(settings: MqttSettings, host: str | None = None, port: int | None = None) -> MqttSettings:
    """Replace host and port of ``settings`` by those of a command line, under the same rules.

    Raises:
        ConfigError: ``host`` or ``port`` is not valid.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not given:
        return settings
    first = settings.brokers[0]
    try:
        checked = MqttSettings.model_validate({"host": first.host, **given})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ConfigError(f"--{wrong['loc'][0]}: {wrong['msg'].removeprefix('Value error, ')}") from None
    return first.model_copy(update={name: getattr(checked, name) for name in given})
