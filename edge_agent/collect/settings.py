"""Configuration of the collector: a TOML file, and ``EDGE_AGENT_COLLECT__SECTION__KEY`` from the environment on top."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.files import read_secret, read_text
from edge_agent.domain.text import did_you_mean
from edge_agent.settings import LogSettings, MqttSettings
from edge_agent.settings.loader import find_line, known_keys

ENV_PREFIX = "EDGE_AGENT_COLLECT__"
CREDENTIAL = "database-password"
"""Name of the systemd credential with the database's password."""

PartitionUnit = Literal["day", "month"]


def _group(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", text):
        raise ValueError("is a name of letters, digits and _ . - (it is part of a topic filter)")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('must be a time zone as "Europe/Berlin"') from None
    return text


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError('must be address and port, as "127.0.0.1:9465"')
    return text


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DatabaseSettings(_Table):
    """The PostgreSQL database, and for how long it holds what."""

    url: str = Field(
        default="",
        description="Where it is, as postgresql://collector@db.example/edge, across a network with "
        "?sslmode=verify-full; empty: as libpq's variables (PGHOST, …) say. The password does not belong here.",
    )
    password: SecretStr | None = Field(
        default=None, description="Password. Prefer password_file or a systemd credential called database-password."
    )
    password_file: Path | None = Field(default=None, description="File whose first line is the password.")
    partition: PartitionUnit = Field(
        default="month", description="How tables are divided; chosen once, by the first migration."
    )
    retention_days: int = Field(
        default=0, ge=0, le=36_500, description="Days after which what devices published is deleted; 0: never."
    )
    rejected_days: int = Field(default=7, ge=1, le=365, description="The same for messages that could not be stored.")
    rejected_rows: int = Field(default=10_000, ge=1, le=1_000_000, description="Most of those that are kept.")
    rejected_bytes: int = Field(
        default=2_048,
        ge=0,
        le=65_536,
        description="Bytes of each that are kept, to find out what is wrong; they may be what somebody said. 0: none.",
    )

    @model_validator(mode="after")
    def _one_password(self) -> DatabaseSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file exclude each other: keep password_file")
        return self

    def password_text(self) -> str | None:
        """Read the password from the setting, its file or ``$CREDENTIALS_DIRECTORY``. Raises ConfigError."""
        if self.password is not None:
            return self.password.get_secret_value()
        path = self.password_file
        if path is None:
            folder = os.environ.get("CREDENTIALS_DIRECTORY")
            path = Path(folder) / CREDENTIAL if folder else None
            if path is None or not path.exists():
                return None
        return read_secret(path, "the database's password")


class ReadingSettings(_Table):
    """How messages are taken from the broker."""

    group: Annotated[str, AfterValidator(_group)] = Field(
        default="collectors",
        description="Collectors of one group share the messages between them; empty: each gets all, and each message "
        "is stored once all the same. For mosquitto 2.0, which forgets shared subscriptions when it restarts.",
    )
    in_flight: int = Field(
        default=2_000,
        ge=1,
        le=65_535,
        description="Messages that the broker hands over before one is acknowledged (MQTT 5 receive maximum).",
    )
    batch: int = Field(default=1_000, ge=1, le=50_000, description="Most messages in one transaction.")
    wait_s: float = Field(
        default=0.5, ge=0.0, le=60.0, description="How long a message waits for others at most, in seconds."
    )
    message_bytes: int = Field(
        default=65_536, ge=1_024, le=16_777_216, description="Larger messages are rejected, in bytes."
    )
    session_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="For how long the broker keeps what is meant for a collector that is away, in days.",
    )
    metrics: Annotated[str, AfterValidator(_listen)] | None = Field(
        default=None, description='Address that serves metrics for Prometheus, as "127.0.0.1:9465"; none by default.'
    )


class CollectSettings(BaseSettings):
    """Everything that the collector can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    mqtt: MqttSettings = MqttSettings()
    database: DatabaseSettings = DatabaseSettings()
    reading: ReadingSettings = ReadingSettings()
    timezones: dict[str, Annotated[str, AfterValidator(_zone)]] = Field(
        default_factory=dict, description="Where days begin at a site, by device.site of its devices. All others: UTC."
    )
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables go before the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _usable(self) -> CollectSettings:
        if self.mqtt.protocol == "3.1.1":
            raise ValueError('mqtt.protocol = "3.1.1" has no shared subscriptions: the collector needs MQTT 5')
        return self

    @property
    def client_id(self) -> str:
        """The collector's name at the broker, which keeps messages under it while the collector is away."""
        return self.mqtt.client_id or f"edge-agent-collect-{socket.gethostname().split('.')[0]}"


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> CollectSettings:
    """Load the settings from ``path`` (None: defaults) and the environment.

    Raises:
        ConfigError: unreadable file, bad TOML, unknown key or bad value; one line per problem.
    """
    for variable in os.environ if environment is None else environment:
        if variable.upper().startswith(ENV_PREFIX):
            section = variable[len(ENV_PREFIX) :].split("__")[0].lower()
            if section not in CollectSettings.model_fields:
                hint = did_you_mean(section, CollectSettings.model_fields)
                raise ConfigError(f"environment variable {variable}: unknown section {section!r}{hint}")
    text = ""
    if path is not None:
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such config file; config/fleet/collect.toml is a sample") from None
    try:
        tables: dict[str, Any] = tomllib.loads(text)
        return CollectSettings(**tables)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        problems = [_describe(problem, text, str(path or "environment")) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from None
    except ValueError as error:  # pydantic-settings' SettingsError
        raise ConfigError(f"environment: {' '.join(str(error).split())}") from None


def _describe(problem: Any, text: str, name: str) -> str:
    path = tuple(str(part) for part in problem["loc"])
    variable = ENV_PREFIX + "__".join(path).upper()
    line = find_line(text, path)
    where = f"environment variable {variable}" if variable in os.environ else f"{name}, line {line}" if line else name
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}{did_you_mean(path[-1], known_keys(CollectSettings, path[:-1]))}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"
