"""The ``[device]`` table: who and where the device is, its state directory and clock."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from edge_agent.settings.source import HomePath

LABEL_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
MOST_LABELS = 16
RESERVED_LABELS = frozenset({"device", "site", "version"})
"""Keys that select devices by something else than a label (``edge-agent fleet``)."""


def _host_id() -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-") or "edge-agent"


def place_name(text: str) -> str:
    """Return ``text`` if it can be a site or the value of a label. Raises ValueError that says what to write."""
    if not text or text != text.strip() or len(text.encode()) > 64 or not text.isprintable() or set(text) & set(",="):
        raise ValueError("must be 1 to 64 bytes of printable text without , and =, and without blanks at its ends")
    return text


def label_table(labels: dict[str, str]) -> dict[str, str]:
    """Return ``labels`` if their keys and values can be published. Raises ValueError that says what to write."""
    if len(labels) > MOST_LABELS:
        raise ValueError(f"has {len(labels)} labels: give at most {MOST_LABELS}")
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            raise ValueError(f"{key[:40]!r}: write keys of 1 to 32 lower-case letters, digits and _, a letter first")
        if key in RESERVED_LABELS:
            raise ValueError(f"{key!r} is no label: devices are selected by it already; write another key")
        try:
            place_name(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return labels


class DeviceSettings(BaseModel):
    """Identity of this device, its state directory and clock."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(
        default_factory=_host_id,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Name in every topic and payload: letters, digits, - and _. Default: the host name.",
    )
    name: str | None = Field(
        default=None, max_length=64, description="Display name, e.g. in Home Assistant. Default: the id."
    )
    site: Annotated[str, AfterValidator(place_name)] | None = Field(
        default=None,
        description="Where the device stands, e.g. the name of a branch; part of every payload, of MQTT 5 user "
        "properties, and the suggested area in Home Assistant.",
    )
    labels: Annotated[dict[str, str], AfterValidator(label_table)] = Field(
        default={},
        description='Groups that the device belongs to, part of every payload, as {floor = "2", kind = "kiosk"}: at '
        "most 16, keys of lower-case letters, digits and _.",
    )
    publish_host: bool = Field(
        default=True, description="Tell the host name in info, so that the machine can be found; false: keep it back."
    )
    publish_config: bool = Field(
        default=False,
        description="Publish the options that differ from their defaults, secrets masked, for 'edge-agent fleet config "
        "diff'; info always has a hash of them.",
    )
    state_dir: HomePath = Field(
        default=Path("/var/lib/edge-agent"), description="Folder of the outbox and of choices made while running."
    )
    trust_clock: bool = Field(
        default=False,
        description="Trust the clock even if it is not synchronised: for a battery-backed clock without a network. "
        "Otherwise times are marked unsynced, and nothing is added to the history, until it is synchronised.",
    )
    timezone: str | None = Field(
        default=None, description="Time zone of all schedules, e.g. Europe/Berlin. Default: the machine's time zone."
    )

    @property
    def place(self) -> dict[str, Any]:
        """The fields of every payload that say where the device is: ``site`` and ``labels``, as far as given."""
        given = {"site": self.site, "labels": dict(sorted(self.labels.items()))}
        return {name: value for name, value in given.items() if value}

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError, IndexError, struct.error):
            raise ValueError(
                f"{name!r} is not a time zone of this machine; 'timedatectl list-timezones' lists them, the package "
                "tzdata installs them"
            ) from None
        return name
