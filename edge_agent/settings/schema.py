"""Every option of the agent, its default, its bounds and one sentence about it. Frozen; unknown keys are refused.

Options of analyzers, sources and sinks belong to their plugins: here their tables are carried as plain mappings and
validated by the plugin manager against the plugin's own model.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.domain.commands import CommandName, LogLevel, Profile
from edge_agent.settings.mqtt import MqttSettings, TopicPrefix
from edge_agent.settings.privacy import PrivacySettings
from edge_agent.settings.schedule import parsable
from edge_agent.settings.source import CameraSource, HomePath, MicrophoneSource
from edge_agent.settings.web import WebSettings


class Section(BaseModel):
    """A table of the config file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _host_id() -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-") or "edge-agent"


class DeviceSettings(Section):
    """Who this device is."""

    id: str = Field(
        default_factory=_host_id,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Name in every topic and payload; letters, digits, - and _. Default: the host name.",
    )
    name: str | None = Field(default=None, max_length=64, description="Name shown to people. Default: the id.")
    state_dir: HomePath = Field(
        default=Path("/var/lib/edge-agent"), description="Where the outbox and remembered choices are kept."
    )
    trust_clock: bool = Field(
        default=False,
        description="Take the machine's clock for right although nothing synchronises it, as with a real-time clock "
        "and no network. Otherwise times are marked unsynced and nothing enters the history until it is.",
    )
    timezone: str | None = Field(
        default=None, description="Of all schedules, e.g. Europe/Berlin. Default: the machine's time zone."
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError, IndexError, struct.error):
            raise ValueError(
                f"{name!r} is no time zone of this machine; 'timedatectl list-timezones' lists them, the package "
                "tzdata brings them"
            ) from None
        return name


class CameraSettings(Section):
    """Where pictures come from."""

    source: CameraSource = Field(
        default="auto",
        description="auto, none, demo, picamera, a V4L2 index or device path, a video file, an rtsp:// or http:// URL "
        "(special characters in a password percent-encoded, @ as %40), or plugin:NAME.",
    )
    width: int = Field(default=640, ge=64, le=4096, description="Requested width in pixels.")
    height: int = Field(default=480, ge=64, le=4096, description="Requested height in pixels.")
    fps: float = Field(default=15.0, gt=0, le=120, description="Requested capture rate in frames per second.")
    loop: bool = Field(default=False, description="Start a video file again at its end.")
    timeout_s: float = Field(
        default=8.0, ge=1, le=60, description="A camera that gives no picture for this many seconds is opened again."
    )


class MicrophoneSettings(Section):
    """Where sound comes from."""

    source: MicrophoneSource = Field(
        default="auto",
        description="auto, none, demo, a device name (or part of it) or index, a media file, or plugin:NAME.",
    )
    channel: int | None = Field(default=None, ge=0, description="Channel to use, from 0. Default: mean of all.")
    loop: bool = Field(default=False, description="Start a media file again at its end.")
    timeout_s: float = Field(
        default=5.0, ge=1, le=60, description="A microphone that gives no sound for this many seconds is opened again."
    )


class PluginSettings(Section):
    """Which plugins may load."""

    allow: tuple[str, ...] = Field(
        default=("face", "emotion", "burst", "attention", "quality", "jsonl"),
        description='Entry points of group edge_agent that may be imported; "*" allows all that are installed.',
    )


class ModelSettings(Section):
    """Where models are and how they run."""

    dir: HomePath | None = Field(
        default=None,
        description="Model store. Default: <state_dir>/models, or the user's cache when that is not writable.",
    )
    auto_pull: bool = Field(default=True, description="Download missing models of enabled analyzers at start.")
    threads: int = Field(default=1, ge=1, le=8, description="Threads per model.")


class PaceSettings(Section):
    """Rates for some times of the week; what is not given is as in the table ``[pacing]``."""

    times: tuple[str, ...] = Field(min_length=1)
    profile: Profile | None = None
    min_fps: float | None = Field(default=None, gt=0, le=60)
    max_fps: float | None = Field(default=None, gt=0, le=60)

    @field_validator("times")
    @classmethod
    def _times(cls, times: tuple[str, ...]) -> tuple[str, ...]:
        return parsable(times)

    @model_validator(mode="after")
    def _something(self) -> PaceSettings:
        if self.profile is None and self.min_fps is None and self.max_fps is None:
            raise ValueError("give profile, min_fps or max_fps for these times")
        return self


class PacingSettings(Section):
    """How often the camera is looked at."""

    profile: Profile = Field(
        default="standard", description="monitor: 1-2, standard: 3, detail: 5-10 analysed frames per second."
    )
    min_fps: float | None = Field(default=None, gt=0, le=60, description="Lower bound, overrides the profile's.")
    max_fps: float | None = Field(
        default=None, gt=0, le=60, description="Most looks a second, whatever goes on; overrides the profile's."
    )
    explain: bool = Field(
        default=False, description="Publish once a second why the camera was looked at: for edge-agent watch --why."
    )
    max_cpu: float = Field(
        default=0.5, gt=0, le=1, description="Share of all cores above which the rate falls towards its lower bound."
    )
    max_celsius: float = Field(
        default=75.0, ge=30, le=110, description="Temperature above which the rate falls towards its lower bound."
    )

    schedule: tuple[PaceSettings, ...] = Field(
        default=(),
        description="Other rates at times of the week, in device.timezone; the first that holds counts: [{times = "
        '["mon-fri 08:00-18:00"], profile = "detail", max_fps = 8}]. Keys: times, and profile, min_fps or max_fps. A '
        "choice made while running outranks them. They hold once the clock was synchronised.",
    )

    def during(self, pace: PaceSettings | None) -> PacingSettings:
        """These settings while ``pace`` of the schedule holds; None: none of it."""
        given = {} if pace is None else pace.model_dump(exclude={"times"}, exclude_none=True)
        return self.model_copy(update=given)

    @model_validator(mode="after")
    def _ordered(self) -> PacingSettings:
        for pace in (None, *self.schedule):
            now = self.during(pace)
            if now.min_fps is not None and now.max_fps is not None and now.min_fps > now.max_fps:
                when = f" {' and '.join(pace.times)}" if pace else ""
                raise ValueError(f"min_fps ({now.min_fps}) is above max_fps ({now.max_fps}){when}")
        return self


class SummarySettings(Section):
    """How observations become summaries."""

    window_s: float = Field(default=10.0, ge=1, le=3600, description="Length of a summary window in seconds.")
    rollups: tuple[int, ...] = Field(
        default=(60, 600, 3600),
        max_length=8,
        description="Lengths in seconds of the longer summaries that are published too, retained, on rollup/<seconds>; "
        "each a multiple of the one before. [] publishes none.",
    )

    @field_validator("rollups")
    @classmethod
    def _nested(cls, rollups: tuple[int, ...]) -> tuple[int, ...]:
        for shorter, longer in pairwise(rollups):
            if longer <= shorter or longer % shorter:
                raise ValueError(f"{longer} is no multiple of {shorter}: give rising multiples, as [60, 600, 3600]")
        if any(not 2 <= length <= 86_400 for length in rollups):
            raise ValueError("a roll-up lasts 2 to 86400 seconds")
        return rollups


class CommandSettings(Section):
    """What others may make this device do over MQTT. Whoever may publish to ``cmd/`` on the broker may do it."""

    enabled: bool = Field(default=False, description="Obey commands on <prefix>/<device>/cmd/<name>.")
    allow: tuple[CommandName, ...] = Field(
        default=get_args(CommandName), description="Commands that are obeyed; the others are refused."
    )
    per_minute: int = Field(default=60, ge=1, le=6000, description="Commands obeyed per minute; more are refused.")
    max_age_s: float = Field(
        default=30.0, ge=1, le=3600, description="A command that says it was sent longer ago than this is refused."
    )


class HomeAssistantSettings(Section):
    """Making this device known to Home Assistant over the same broker."""

    enabled: bool = Field(default=False, description="Announce the device; switching it off takes it away again.")
    discovery: Literal["device", "component"] = Field(
        default="device", description="device: one message for everything. component: for versions before 2024.12."
    )
    prefix: TopicPrefix = Field(
        default="homeassistant",
        description="Home Assistant's discovery prefix; its birth message is expected on <prefix>/status.",
    )
    area: str | None = Field(default=None, max_length=64, description="Room that the device is suggested to be in.")
    dashboard_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Where Home Assistant's users reach the dashboard. Default: web.host and web.port, if others can.",
    )


class OutboxSettings(Section):
    """The durable buffer between the summariser and the broker."""

    max_mb: float = Field(
        default=64.0, ge=2, le=65536, description="Cap of the outbox file in MB; older windows merge."
    )
    max_age_days: float = Field(default=60.0, gt=0, le=3650, description="Rows older than this are dropped, counted.")


class LogSettings(Section):
    """What the agent says about itself."""

    level: LogLevel = Field(default="info", description="Least severe level shown.")
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: journald priorities under systemd, else text."
    )


ENV_PREFIX = "EDGE_AGENT__"
"""Beginning of the environment variables that set options."""

PLUGIN_TABLES = ("analyzers", "sources", "sinks")
"""Tables whose content the plugins define."""


class _Environment(EnvSettingsSource):
    """Reads lists and tables in a plugin's options from JSON too, though no type in this schema asks for it."""

    def explode_env_vars(self, field_name: str, field: FieldInfo, env_vars: Mapping[str, str | None]) -> dict[str, Any]:
        values = super().explode_env_vars(field_name, field, env_vars)
        return {key: _decoded(value) for key, value in values.items()} if field_name in PLUGIN_TABLES else values


def _decoded(value: Any) -> Any:
    """``value`` with every string in it that is a JSON list or object replaced by what it says."""
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value  # the plugin's model says what it wants instead
    return value


class Settings(BaseSettings):
    """The whole configuration: TOML file, then ``EDGE_AGENT__SECTION__KEY`` from the environment on top."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    device: DeviceSettings = Field(default_factory=DeviceSettings)
    camera: CameraSettings = CameraSettings()
    microphone: MicrophoneSettings = MicrophoneSettings()
    plugins: PluginSettings = PluginSettings()
    models: ModelSettings = ModelSettings()
    pacing: PacingSettings = PacingSettings()
    summary: SummarySettings = SummarySettings()
    privacy: PrivacySettings = PrivacySettings()
    mqtt: MqttSettings = MqttSettings()
    commands: CommandSettings = CommandSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    outbox: OutboxSettings = OutboxSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    analyzers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per analyzer.")
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per source plugin.")
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per sink plugin.")

    @field_validator(*PLUGIN_TABLES)
    @classmethod
    def _names(cls, tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in tables:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name!r} is no plugin name: use lower-case letters, digits and _")
        return tables

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.web.preview and self.privacy.min_people > 1:
            raise ValueError("web.preview shows one person alone, too: it excludes privacy.min_people")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment outranks the file, whose content arrives as init arguments."""
        return _Environment(settings_cls), init_settings
