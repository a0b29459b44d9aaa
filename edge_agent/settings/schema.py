"""Settings models: every option with its default, bounds and description. Frozen; unknown keys are refused.

The tables of analyzers, sources and sinks are plain mappings here; the plugin manager validates them against the
models of the plugins. The descriptions are the comments in ``config/edge-agent.toml`` and ``docs/configuration.md``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from edge_agent.domain.commands import CommandName, LogLevel, Profile
from edge_agent.settings.batch import BatchSettings
from edge_agent.settings.device import DeviceSettings
from edge_agent.settings.mqtt import MqttSettings, TopicPrefix
from edge_agent.settings.privacy import FORBIDDEN, IdentitySettings, PrivacySettings
from edge_agent.settings.schedule import parsable
from edge_agent.settings.source import CameraSource, HomePath, MicrophoneSource
from edge_agent.settings.web import WebSettings


class Section(BaseModel):
    """A table of the config file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CameraSettings(Section):
    """Camera."""

    source: CameraSource = Field(
        default="auto",
        description="auto, none, demo, picamera, a V4L2 index or device path, a video file, an rtsp:// or http:// URL "
        "(percent-encode special characters in a password, @ as %40), or plugin:NAME.",
    )
    width: int = Field(default=640, ge=64, le=4096, description="Requested width in pixels.")
    height: int = Field(default=480, ge=64, le=4096, description="Requested height in pixels.")
    fps: float = Field(default=15.0, gt=0, le=120, description="Requested capture rate in frames per second.")
    loop: bool = Field(default=False, description="Repeat a video file.")
    timeout_s: float = Field(
        default=8.0, ge=1, le=60, description="Reopen the camera after this many seconds without a picture."
    )


class MicrophoneSettings(Section):
    """Microphone."""

    source: MicrophoneSource = Field(
        default="auto",
        description="auto, none, demo, a device name (or part of it) or index, a media file, or plugin:NAME.",
    )
    channel: int | None = Field(
        default=None, ge=0, description="Channel to use, from 0. Default: the mean of all channels."
    )
    loop: bool = Field(default=False, description="Repeat a media file.")
    timeout_s: float = Field(
        default=5.0, ge=1, le=60, description="Reopen the microphone after this many seconds without sound."
    )


class PluginSettings(Section):
    """Plugins that may load."""

    allow: tuple[str, ...] = Field(
        default=(
            "face",
            "emotion",
            "burst",
            "attention",
            "gaze",
            "quality",
            "jsonl",
            "speech",
            "language",
            "voice",
            "identity",
        ),
        description='Plugins that may load: names of entry points in the group edge_agent; "*" allows all.',
    )


class ModelSettings(Section):
    """Model files, and how they run."""

    dir: HomePath | None = Field(
        default=None,
        description="Folder of the models. Default: <state_dir>/models, or the user's cache if that is not writable.",
    )
    auto_pull: bool = Field(default=True, description="Download missing models of enabled analyzers at start.")
    threads: int = Field(default=1, ge=1, le=8, description="Number of threads per model.")


class PaceSettings(Section):
    """Analysis rates at times of the week; options not given are those of ``[pacing]``."""

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
    """Rate at which pictures are analysed."""

    profile: Profile = Field(
        default="standard", description="Analysed frames per second: monitor 1-2, standard 3, detail 5-10."
    )
    min_fps: float | None = Field(
        default=None, gt=0, le=60, description="Lowest rate in frames per second. Default: the profile's."
    )
    max_fps: float | None = Field(
        default=None, gt=0, le=60, description="Highest rate in frames per second. Default: the profile's."
    )
    explain: bool = Field(
        default=False, description="Publish the reasons for the current rate once a second, for edge-agent watch --why."
    )
    max_cpu: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="CPU load, as a share of all cores, above which the rate falls towards min_fps.",
    )
    max_celsius: float = Field(
        default=75.0,
        ge=30,
        le=110,
        description="Temperature in degrees Celsius above which the rate falls towards min_fps.",
    )

    schedule: tuple[PaceSettings, ...] = Field(
        default=(),
        description="Other rates at times of the week, in device.timezone; the first match counts: [{times = "
        '["mon-fri 08:00-18:00"], profile = "detail", max_fps = 8}]. Keys: times, and profile, min_fps or max_fps. '
        "Commands override them. They apply once the clock is synchronised.",
    )

    def during(self, pace: PaceSettings | None) -> PacingSettings:
        """Apply ``pace`` of the schedule to these settings; None: no change."""
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
    """Length of summaries."""

    window_s: float = Field(default=10.0, ge=1, le=3600, description="Length of a summary window in seconds.")
    rollups: tuple[int, ...] = Field(
        default=(60, 600, 3600),
        max_length=8,
        description="Lengths in seconds of longer summaries, published retained on rollup/<seconds>; each a multiple "
        "of the one before. [] publishes none.",
    )

    @field_validator("rollups")
    @classmethod
    def _nested(cls, rollups: tuple[int, ...]) -> tuple[int, ...]:
        for shorter, longer in pairwise(rollups):
            if longer <= shorter or longer % shorter:
                raise ValueError(f"{longer} is not a multiple of {shorter}: give rising multiples, as [60, 600, 3600]")
        if any(not 2 <= length <= 86_400 for length in rollups):
            raise ValueError("a roll-up lasts 2 to 86400 seconds")
        return rollups


class CommandSettings(Section):
    """Commands over MQTT. Every client that may publish to ``cmd/`` on the broker can send them."""

    enabled: bool = Field(default=False, description="Accept commands on <prefix>/<device>/cmd/<name>.")
    allow: tuple[CommandName, ...] = Field(
        default=get_args(CommandName), description="Commands to accept; others are refused."
    )
    per_minute: int = Field(
        default=60, ge=1, le=6000, description="Maximum number of commands per minute; more are refused."
    )
    max_age_s: float = Field(
        default=30.0, ge=1, le=3600, description="Refuse a command whose sent time is more than this many seconds ago."
    )


class HomeAssistantSettings(Section):
    """Home Assistant discovery over the same broker."""

    enabled: bool = Field(default=False, description="Announce the device to Home Assistant; false removes it again.")
    discovery: Literal["device", "component"] = Field(
        default="device",
        description="device: one announcement. component: one per entity, for Home Assistant before 2024.12.",
    )
    prefix: TopicPrefix = Field(
        default="homeassistant",
        description="Discovery prefix of Home Assistant, whose birth message is on <prefix>/status.",
    )
    area: str | None = Field(
        default=None, max_length=64, description="Suggested area (room) of the device. Default: device.site."
    )
    language: Literal["en", "de"] = Field(default="en", description="Language of the names of the entities.")
    dashboard_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="URL of the dashboard, for a link. Default: from web.host and web.port, unless that is loopback.",
    )


class OutboxSettings(Section):
    """Durable storage of messages until the broker has them."""

    max_mb: float = Field(
        default=64.0, ge=2, le=65536, description="Maximum size in MB; above it, the oldest windows are merged."
    )
    max_age_days: float = Field(
        default=60.0, gt=0, le=3650, description="Drop messages older than this many days; they are counted."
    )
    hold_s: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="Seconds that a message may wait in memory for the broker's acknowledgement before it is written;"
        " acknowledged messages are never written, which spares SD cards. 0: each is written before it is sent.",
    )


class LogSettings(Section):
    """Log output."""

    level: LogLevel = Field(default="info", description="Lowest level to log.")
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text, with priorities for journald under systemd."
    )


ENV_PREFIX = "EDGE_AGENT__"
"""Beginning of the environment variables that set options."""

PLUGIN_TABLES = ("analyzers", "sources", "sinks")
"""Tables whose content the plugins define."""


def _environment(model: type[BaseModel]) -> dict[str, Any]:
    """Read the options that environment variables set, as tables; lists and tables in those of plugins are JSON, too.

    Raises:
        SettingsError: a list or table is not JSON.
    """
    if not any(variable.upper().startswith(ENV_PREFIX) for variable in os.environ):
        return {}  # pydantic-settings imports asyncio and takes a sixth of the time of a short command
    from pydantic_settings import BaseSettings, EnvSettingsSource

    source = EnvSettingsSource(cast(type[BaseSettings], model), env_prefix=ENV_PREFIX, env_nested_delimiter="__")
    tables = source()
    return {key: _decoded(value) if key in PLUGIN_TABLES else value for key, value in tables.items()}


def _decoded(value: Any) -> Any:
    """Parse every string in ``value`` that is a JSON list or object."""
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value  # the plugin's model reports it
    return value


def _merged(tables: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` upon ``tables``, option by option; whatever is not a table is replaced."""
    merged = dict(tables)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


class Settings(Section):
    """The whole configuration: TOML file, then ``EDGE_AGENT__SECTION__KEY`` from the environment on top.

    Raises:
        pydantic.ValidationError: an option cannot be used.
        SettingsError: a list or table in an environment variable is not JSON.
    """

    device: DeviceSettings = Field(default_factory=DeviceSettings)
    camera: CameraSettings = CameraSettings()
    microphone: MicrophoneSettings = MicrophoneSettings()
    plugins: PluginSettings = PluginSettings()
    models: ModelSettings = ModelSettings()
    pacing: PacingSettings = PacingSettings()
    summary: SummarySettings = SummarySettings()
    privacy: PrivacySettings = PrivacySettings()
    identity: IdentitySettings = IdentitySettings()
    mqtt: MqttSettings = MqttSettings()
    commands: CommandSettings = CommandSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    outbox: OutboxSettings = OutboxSettings()
    web: WebSettings = WebSettings()
    batch: BatchSettings = BatchSettings()
    log: LogSettings = LogSettings()
    analyzers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per analyzer.")
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per source plugin.")
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict, description="One table per sink plugin.")

    def __init__(self, **tables: Any) -> None:
        super().__init__(**_merged(tables, _environment(type(self))))

    @field_validator(*PLUGIN_TABLES)
    @classmethod
    def _names(cls, tables: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        custom = r"|custom:[a-z][a-z0-9_-]{0,31}" if info.field_name == "analyzers" else ""
        for name in tables:
            if not re.fullmatch(rf"[a-z][a-z0-9_]*{custom}", name):
                raise ValueError(f"{name!r} is not a plugin name: use lower-case letters, digits and _")
        return tables

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.web.preview and self.privacy.min_people > 1:
            raise ValueError(
                "web.preview and privacy.min_people exclude each other: a preview also shows a single person"
            )
        if self.batch.enabled and self.privacy.context in FORBIDDEN:
            raise ValueError(
                f'batch.enabled and privacy.context = "{self.privacy.context}" exclude each other: recordings of '
                "people there must not be judged; set batch.enabled = false"
            )
        return self
