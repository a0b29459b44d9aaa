"""The ``[privacy]`` table: deployment context, minimum number of people, private times; and what a reload loosens.

The operator declares the context and the agent cannot verify it. It is published in the device's ``info``, so a false
declaration is on record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.settings.schedule import minutes_of_week, parsable
from edge_agent.settings.source import HomePath

if TYPE_CHECKING:
    from edge_agent.settings.schema import Settings

Context = Literal["undeclared", "home", "public", "exhibition", "retail", "research", "workplace", "education"]

FORBIDDEN = ("workplace", "education")
"""Contexts in which the European Union prohibits inferring emotions."""

TEXT_CONTEXTS = ("home", "exhibition", "research")
"""Contexts in which words may be published: passers-by in public places cannot be asked, and in the forbidden ones no
reason overrules it."""

LAW = "Article 5(1)(f) of the EU AI Act (Regulation (EU) 2024/1689), applied since 2 February 2025"

CUSTOM = "custom:"
"""Beginning of the names of analyzers that are custom models."""

LEAST_REASON = 20
"""Minimum length of override_reason."""


class PrivacySettings(BaseModel):
    """Deployment context, and what the device withholds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    context: Context = Field(
        default="undeclared",
        description="Where the device is used: home, public, exhibition, retail, research, workplace or education. The "
        "last two are refused without override_reason: the EU prohibits inferring emotions there.",
    )
    override_reason: str | None = Field(
        default=None,
        description="Why this device may run in a workplace or education institution, e.g. because emotion analysis is "
        f"off; at least {LEAST_REASON} characters, published in info.",
    )

    min_people: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Withhold emotion, attention, stays, measures and fused values of windows in which fewer people "
        "than this were seen together. 0 and 1 withhold nothing.",
    )

    publish_text: bool = Field(
        default=False,
        description="Also publish what people say, word for word, as events of kind utterance, where an analyzer of "
        "speech runs. Only in the contexts home, exhibition and research, and not with min_people.",
    )

    schedule: tuple[str, ...] = Field(
        default=(),
        description='Times of the week in which camera and microphone are off, in device.timezone: ["mon-fri '
        '18:00-08:00", "sat,sun 00:00-24:00"]. Times past midnight belong to the day on which they begin.',
    )
    without_clock: Literal["private", "trust"] = Field(
        default="private",
        description="With a schedule, while the clock is not synchronised since boot. private: camera and microphone "
        "stay off. trust: use the clock as it is, for devices with a battery-backed clock.",
    )

    @field_validator("schedule")
    @classmethod
    def _times(cls, schedule: tuple[str, ...]) -> tuple[str, ...]:
        return parsable(schedule)

    @model_validator(mode="after")
    def _lawful(self) -> PrivacySettings:
        reason = (self.override_reason or "").strip()
        if self.context in FORBIDDEN and len(reason) < LEAST_REASON:
            raise ValueError(
                f'context = "{self.context}": inferring emotions of people there is prohibited by {LAW}. Do not use '
                "the agent there. Should a lawyer have told you otherwise, or no emotions be inferred, write why in "
                f"override_reason (at least {LEAST_REASON} characters; it is published). See docs/privacy.md"
            )
        if self.publish_text and self.context not in TEXT_CONTEXTS:
            raise ValueError(
                f'publish_text = true with context = "{self.context}": what people say may be published only where '
                f"they can be asked, in the contexts {', '.join(TEXT_CONTEXTS)}. Set publish_text = false (what was "
                "said is summarised all the same), or declare the right context. See docs/privacy.md"
            )
        if self.publish_text and self.min_people > 1:
            raise ValueError(
                "publish_text and min_people exclude each other: a sentence is always one person's. "
                "Set publish_text = false, or min_people = 0"
            )
        return self


class IdentitySettings(BaseModel):
    """Recognition of enrolled people. Refused unless consent and privacy.context are given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    consent: str | None = Field(
        default=None,
        description="How the people who are enrolled, and those who pass by, agreed to be recognised, in words; at "
        f"least {LEAST_REASON} characters, published in info. Without it no analyzer that recognises people runs.",
    )
    publish_names: bool = Field(
        default=False,
        description="Publish the names of recognised people, in events and in presence. Otherwise only how many "
        "known and unknown people were seen leaves the device.",
    )
    join_emotion: bool = Field(
        default=False,
        description="Publish in the summaries what each recognised person expressed, by name. Needs publish_names.",
    )
    key_file: HomePath | None = Field(
        default=None,
        description="Key that encrypts the templates: 32 bytes in URL-safe base64, mode 0600. Default: the systemd "
        "credential edge-agent-people.key, else a file beside the templates.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> IdentitySettings:
        if self.consent is not None and len(self.consent.strip()) < LEAST_REASON:
            raise ValueError(f"consent says in at least {LEAST_REASON} characters how people agreed to be recognised")
        if self.join_emotion and not self.publish_names:
            raise ValueError("join_emotion needs publish_names = true")
        return self


def recognition_refused(settings: Settings) -> str | None:
    """Say why nobody may be recognised with these settings; None when the operator has stated what is needed."""
    if settings.identity.consent is None:
        return (
            "identity.consent is missing: say there in words how the people agreed to be recognised, or set enabled = "
            "false. See docs/privacy.md"
        )
    if settings.privacy.context in ("undeclared", *FORBIDDEN):
        return (
            f'recognising people with privacy.context = "{settings.privacy.context}" is refused: declare where the '
            "device stands (not workplace or education). See docs/privacy.md"
        )
    return None


def loosened(before: Settings, after: Settings) -> tuple[str, ...]:
    """List what ``after`` loosens compared to ``before``, one line each: more is recorded, published or reachable."""
    parts = (_told_more, _watched_more, _opened, _queued_more)
    return tuple(line for part in parts for line in part(before, after))


def _told_more(before: Settings, after: Settings) -> Iterator[str]:
    old, new = before.privacy, after.privacy
    if max(old.min_people, 1) > max(new.min_people, 1):
        yield f"privacy.min_people from {old.min_people} to {new.min_people}"
    if old.context != new.context:
        yield f"privacy.context from {old.context} to {new.context}"
    if new.publish_text and not old.publish_text:
        yield "privacy.publish_text is on"
    if after.identity.consent and not before.identity.consent:
        yield "identity.consent is given"
    for name in ("publish_names", "join_emotion"):
        if getattr(after.identity, name) and not getattr(before.identity, name):
            yield f"identity.{name} is on"
    if after.web.preview and not before.web.preview:
        yield "web.preview is on"


def _watched_more(before: Settings, after: Settings) -> Iterator[str]:
    old, new = before.privacy, after.privacy
    lost = minutes_of_week(old.schedule) - minutes_of_week(new.schedule)
    if lost:
        yield f"privacy.schedule covers {len(lost)} minutes of the week less"
    elif old.schedule and before.device.timezone != after.device.timezone:
        yield f"device.timezone of privacy.schedule from {before.device.timezone} to {after.device.timezone}"
    if old.schedule and old.without_clock == "private" and new.without_clock == "trust":
        yield "privacy.without_clock from private to trust"
    for name in ("camera", "microphone"):
        if getattr(before, name).source == "none" != getattr(after, name).source:
            yield f"{name}.source is no longer none"
    for name, table in after.analyzers.items():  # what a custom model judges, only its operator knows
        if name.startswith(CUSTOM) and table.get("enabled") and not before.analyzers.get(name, {}).get("enabled"):
            yield f"analyzers.{name} is on"


def _opened(before: Settings, after: Settings) -> Iterator[str]:
    if after.web.enabled and not before.web.enabled:
        yield "web.enabled is on"
    if before.web.loopback and not after.web.loopback:
        yield "web.host can be reached by others"
    if after.commands.enabled and not before.commands.enabled:
        yield "commands.enabled is on"
    elif after.commands.enabled and (more := sorted({*after.commands.allow} - {*before.commands.allow})):
        yield f"commands.allow has {', '.join(more)}"
    if after.mqtt.enabled and (not before.mqtt.enabled or _hosts(after) - _hosts(before)):
        yield "mqtt publishes to another broker"
    if before.mqtt.tls.enabled and not after.mqtt.tls.enabled:
        yield "mqtt.tls.enabled is off"
    for name, table in after.sinks.items():
        if table.get("enabled") and not before.sinks.get(name, {}).get("enabled"):
            yield f"sinks.{name} is on"


def _hosts(settings: Settings) -> set[str]:
    return {broker.host for broker in settings.mqtt.brokers}


def _queued_more(before: Settings, after: Settings) -> Iterator[str]:
    if after.batch.enabled and not before.batch.enabled:
        yield "batch.enabled is on"
    for name in ("allow_urls", "allow_callbacks"):
        if getattr(after.batch, name) and not getattr(before.batch, name):
            yield f"batch.{name} is on"
    if set(after.batch.private_networks) - set(before.batch.private_networks):
        yield "batch.private_networks has more networks"
    if after.batch.redis_url is not None and after.batch.redis_url != before.batch.redis_url:
        yield "batch.redis_url names another queue"
