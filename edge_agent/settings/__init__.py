"""Configuration: settings models, and loading them from the config file and the environment."""

from edge_agent.settings.batch import BatchSettings
from edge_agent.settings.device import DeviceSettings
from edge_agent.settings.loader import ConfigText, default_path, load, parse, read
from edge_agent.settings.mqtt import MqttSettings, TlsSettings
from edge_agent.settings.privacy import PrivacySettings, loosened
from edge_agent.settings.schema import (
    CameraSettings,
    CommandSettings,
    HomeAssistantSettings,
    LogSettings,
    MicrophoneSettings,
    ModelSettings,
    OutboxSettings,
    PaceSettings,
    PacingSettings,
    PluginSettings,
    Settings,
    SummarySettings,
)
from edge_agent.settings.web import WebSettings

__all__ = [
    "BatchSettings",
    "CameraSettings",
    "CommandSettings",
    "ConfigText",
    "DeviceSettings",
    "HomeAssistantSettings",
    "LogSettings",
    "MicrophoneSettings",
    "ModelSettings",
    "MqttSettings",
    "OutboxSettings",
    "PaceSettings",
    "PacingSettings",
    "PluginSettings",
    "PrivacySettings",
    "Settings",
    "SummarySettings",
    "TlsSettings",
    "WebSettings",
    "default_path",
    "load",
    "loosened",
    "parse",
    "read",
]
