"""Models of the messages about the device itself: info, state, health, pacing, lost messages and command responses.

They are built like those in :mod:`edge_agent.payloads.messages`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from edge_agent.payloads.messages import (
    BootId,
    Count,
    DeviceId,
    Label,
    MessageModel,
    MessagePart,
    Positive,
    Seconds,
    Timestamp,
    absent,
)

DeviceState = Literal["on", "missing", "pending", "off", "none"]
CommandStatus = Literal["done", "accepted", "refused", "failed"]


class IdentityManifest(MessagePart):
    """How people are recognised, as the config says."""

    consent: Label = Field(description="How people agreed to it (identity.consent).")
    publish_names: bool = Field(description="Whether names leave the device (identity.publish_names).")
    join_emotion: Literal[True] = absent("Summaries say who expressed what (identity.join_emotion).")


class PrivacyManifest(MessagePart):
    """What the device uses and lets out, as its config says."""

    context: Label = Field(description="Where the device stands (privacy.context).")
    camera: bool = Field(description="Whether the config uses a camera.")
    microphone: bool = Field(description="Whether the config uses a microphone.")
    min_people: Count = Field(description="privacy.min_people.")
    schedule: list[str] = Field(description="Times of the week with privacy (privacy.schedule).")
    emotions: bool = Field(description="Whether expressions are judged.")
    voice: bool = Field(description="Whether it is judged how excited voices are.")
    speech: bool = Field(description="Whether words are recognised, on the device.")
    language: bool = Field(description="Whether it is judged what words express.")
    local_sinks: list[str] = Field(description="Sinks that receive the same messages as the broker.")
    override_reason: Label = absent("Why the device may run where inferring emotions is forbidden.")
    gaze: Literal[True] = absent("The direction of people's eyes is measured (analyzer gaze).")
    identity: IdentityManifest = absent("Enrolled people are recognised by their faces, and others compared with them.")
    publish_text: Literal[True] = absent("What people say is published, word for word (privacy.publish_text).")
    preview: Literal[True] = absent("The web side shows the camera's picture to whoever has the token.")
    batch: Literal[True] = absent("Recordings that are handed in are stored until they are analysed (batch.enabled).")


class HardwarePart(MessagePart):
    """The machine."""

    model: Label = absent("Its model, as the firmware tells it.")
    machine: Label = Field(description="Architecture, as x86_64 or aarch64.")
    processors: Positive = Field(description="Number of processors.")
    memory_mb: Count = Field(description="Memory in MB.")


class ConfigDigest(MessagePart):
    """Hashes of the options that differ from their defaults, except those that each device has of its own, as
    device.id. Secrets do not count: devices that differ in a password only have the same."""

    hash: Label = Field(description="Of all of them: devices with the same hash are configured alike.")
    tables: dict[str, Label] = Field(description="Of each table that has any, by name.")


class ConfigMessage(MessageModel):
    """Options that differ from their defaults; retained, only with device.publish_config."""

    model_config = ConfigDict(title="Configuration of the device")
    topic: ClassVar[str] = "config"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    hash: Label = Field(description="As in info.config.")
    options: dict[str, Any] = Field(
        description="Values by path, as mqtt.keepalive_s; secrets, and texts that may be secret, are ***."
    )


class InfoMessage(MessageModel):
    """The installation: versions, analyzers, models and the privacy manifest; retained."""

    model_config = ConfigDict(title="The installation")
    topic: ClassVar[str] = "info"

    version: Label = Field(description="Version of edge-agent.")
    name: Label = Field(description="device.name, else device.id.")
    analyzers: dict[str, Label] = Field(
        description="Status of each analyzer: enabled, disabled, load-error, config-error, self-check-failed, crashed."
    )
    models: dict[str, Label] = Field(description="State of each model file that the analyzers need.")
    window_s: Annotated[float, Field(gt=0)] = Field(description="Length of a summary's window in seconds.")
    privacy: PrivacyManifest = Field(description="What the device uses and lets out.")
    host: Label = absent("Host name of the machine; absent with device.publish_host = false.")
    hardware: HardwarePart = absent("The machine.")
    system: Label = absent("Operating system.")
    python: Label = absent("Version of Python.")
    config: ConfigDigest = absent("Hashes of the configuration.")
    boot_id: BootId = absent("The boot_id of this start's messages.")
    expiry_s: Count = absent("MQTT 5 message expiry of summaries and events, in seconds.")


class UpdateMessage(MessageModel):
    """Versions of the Debian package, only from an agent that was installed as one; retained."""

    model_config = ConfigDict(title="Newer package")
    topic: ClassVar[str] = "update"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    installed_version: Label = Field(description="Version of the package that is installed.")
    latest_version: Label = absent(
        "Version that apt would install by the package lists on the machine; absent while no list has the package."
    )


class LastCommand(MessagePart):
    """What became of the last command."""

    command: Label = Field(description="Its name.")
    status: CommandStatus = Field(description="As in its response.")
    at: Timestamp = Field(description="When, RFC 3339 in UTC.")
    reason: str | None = Field(description="Why it was refused or failed; null otherwise.")


class UnknownNow(MessagePart):
    """Why nothing is seen or heard now."""

    people: Label | None = Field(description="Why nobody can be seen now; null: the camera works.")
    sounds: Label | None = Field(description="Why nothing can be heard now; null: the microphone works.")


class StateMessage(MessageModel):
    """What was chosen at run time, and what is in force; retained."""

    model_config = ConfigDict(title="State of the device")
    topic: ClassVar[str] = "state"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    privacy: Literal["on", "pending", "off"] = Field(
        description="on: camera and microphone are released; pending: privacy was chosen, a device is not released yet."
    )
    scheduled: bool = Field(description="Privacy is on by privacy.schedule, which no command overrules.")
    camera: DeviceState = Field(
        description="on, missing (switched on, but the device is not there), pending (switched off, not released yet), "
        "off (released) or none (not used by this config)."
    )
    microphone: DeviceState = Field(description="The same for the microphone.")
    paused_until: Timestamp | None = Field(description="End of a pause, RFC 3339 in UTC; null: no pause.")
    profile: Literal["monitor", "standard", "detail"] = Field(description="How often the camera is looked at.")
    max_fps: Annotated[float, Field(gt=0)] = Field(description="Most looks a second, bursts included.")
    auto_fps: bool = Field(description="Whether max_fps follows from the profile: nobody has chosen it.")
    fps_limits: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        description="Lowest and highest max_fps that can be chosen."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(description="Level of the log.")
    unknown: UnknownNow = Field(description="Why nothing is seen or heard now.")
    last_command: LastCommand | None = Field(description="What became of the last command; null before the first.")


class ResponseMessage(MessageModel):
    """The answer to a command."""

    model_config = ConfigDict(title="Response to a command")
    topic: ClassVar[str] = "cmd/<name>/response"

    v: Literal[1] = Field(description="Version of the schema.")
    command: Label = Field(description="Name of the command.")
    id: str | None = Field(description="The id that the command was sent with; null without one.")
    status: CommandStatus = Field(description="What became of it.")
    reason: Label = absent("Why it was refused or failed.")
    state: StateMessage = absent("The state afterwards, when it was done or accepted.")


class ComponentStatus(MessagePart):
    """A thread of the agent."""

    alive: bool = Field(description="Whether it runs.")
    restarts: Count = Field(description="How often it was restarted.")


class AnalyzerUse(MessagePart):
    """What an analyzer costs."""

    calls: Count = Field(description="Calls since the start.")
    mean_ms: Seconds = Field(description="Mean duration of a call in milliseconds.")
    slowest_ms: Seconds = Field(description="Longest call in milliseconds.")
    share: Seconds = Field(description="Share of the time spent in it.")


class SourceHealth(MessagePart):
    """A camera or microphone."""

    available: bool = Field(description="Whether the device is open.")
    reopens: Count = Field(description="How often it was opened again.")
    off: bool = Field(description="Whether it is switched off by choice.")
    unknown: Label | None = Field(description="Why nothing comes from it, as in summaries; null: it works.")


class OutboxCounters(MessagePart):
    """Fates of all messages: produced = acked + pending + merged_away + dropped + dead_lettered."""

    produced: Count = Field(description="Messages handed over.")
    acked: Count = Field(description="Acknowledged by every target.")
    merged_away: Count = Field(description="Merged into others while the outbox was nearly full.")
    dropped: Count = Field(description="Given up.")
    dead_lettered: Count = Field(description="Refused for good by the broker.")


class OutboxGap(MessagePart):
    """Messages that will never be delivered, as the outbox counts them."""

    boot_id: str = Field(description="Their boot_id; empty when unknown.")
    first_seq: Count = Field(description="First seq; 0 when unknown.")
    last_seq: Count = Field(description="Last seq; 0 when unknown.")
    start: float = Field(description="Begin, Unix seconds; 0 when unknown.")
    end: float = Field(description="End, Unix seconds; 0 when unknown.")
    count: Count = Field(description="How many messages.")
    reason: str = Field(description="Why.")


class OutboxFigures(MessagePart):
    """The outbox."""

    counters: OutboxCounters = Field(description="Fates of all messages.")
    pending: Count = Field(description="Messages that wait.")
    size: Count = Field(description="Bytes on the disk.")
    limit: Count = Field(description="Bytes that it may take (outbox.max_mb).")
    salvages: Count = Field(description="How often a damaged outbox was repaired.")
    ballast: bool = Field(description="Whether the reserve for a full disk is in place.")
    degraded: str | None = Field(description="Why messages are held in memory only; null: they are on the disk.")
    oldest: float | None = Field(description="Unix seconds of the oldest message that waits.")
    gaps: list[OutboxGap] = Field(description="Messages that will never be delivered.")


class SinkFigures(MessagePart):
    """A delivery target besides the broker."""

    written: Count = Field(description="Messages since the start.")
    trouble: str | None = Field(description="Why it takes nothing now; null: it works.")


class DeliveryFigures(MessagePart):
    """Connection to the broker, outbox and sinks."""

    enabled: bool = Field(description="Whether anything is delivered at all.")
    connected: bool = Field(description="Whether there is a connection to the broker.")
    protocol: str | None = Field(description="MQTT version of the connection.")
    broker: Label = absent("Host and port of the broker in use; absent without a connection.")
    rank: Count = Field(default=0, description="Its place in mqtt.hosts, from 0.")
    trouble: str | None = Field(description="Why there is no connection; null: there is, or none is wanted.")
    client_id_in_use: bool = Field(description="Another client has the same client id.")
    in_flight: Count = Field(description="Messages sent and not acknowledged yet.")
    sent: Count = Field(description="Messages sent since the start.")
    inbound_dropped: Count = Field(description="Incoming messages dropped.")
    refused_topics: list[str] = Field(description="Topics that the broker refuses now.")
    refusals: list[str] = Field(description="Everything that the broker refuses now, a line each.")
    namesakes: list[str] = Field(description="Other agents that publish as this device, a line each.")
    outbox: OutboxFigures | None = Field(description="The outbox; null when nothing is delivered.")
    sinks: dict[str, SinkFigures] = Field(description="Delivery targets besides the broker, by name.")


class ProcessFigures(MessagePart):
    """The process and its child processes; null where the kernel does not tell."""

    rss_mb: Seconds | None = Field(description="Resident memory in MB.")
    cpu_s: Seconds = Field(description="Processor time used, in seconds.")
    descriptors: Count | None = Field(description="Open files and sockets.")
    temperature_c: float | None = Field(description="Hottest thermal zone in °C.")


class SpeechFigures(MessagePart):
    """How recognition of speech keeps up."""

    waiting_s: Seconds = Field(description="Seconds of sound that wait to be recognised.")
    lost_s: Seconds = Field(description="Seconds of sound lost since the start, because recognition fell behind.")
    rejected: Count = Field(
        default=0, description="Utterances since the start in which no words were understood: coughs, cries, noise."
    )


class HealthMessage(MessageModel):
    """What works and what does not, every 30 s and at once when it changes; retained."""

    model_config = ConfigDict(title="Health of the device")
    topic: ClassVar[str] = "health"

    v: Literal[1] = Field(description="Version of the schema.")
    status: Literal["ok", "starting", "degraded"] = Field(description="degraded: there are problems.")
    problems: list[Label] = Field(description="Everything that is not as it should be, a line each.")
    notices: Annotated[list[Label], Field(min_length=1)] = absent("No problems, but to be known, a line each.")
    at: Timestamp = absent("When it was said, RFC 3339 in UTC; absent while the clock is not synchronised.")
    uptime_s: Count = Field(description="Seconds since the start.")
    components: dict[str, ComponentStatus] = Field(description="Threads of the agent by name.")
    analyzers: dict[str, AnalyzerUse] = Field(description="What each analyzer costs.")
    speech: SpeechFigures = absent("How recognition of speech keeps up; absent without an analyzer of speech.")
    replaced: dict[str, Positive] = Field(description="Processes of isolated analyzers that were replaced, by name.")
    sources: dict[str, SourceHealth] = Field(description="Camera and microphone.")
    delivery: DeliveryFigures = Field(description="Connection to the broker, outbox and sinks.")
    commands: dict[str, Count] = Field(description="Commands since the start: done, failed, refused, malformed.")
    events: dict[str, dict[str, Positive]] = absent(
        "Events since the start, by kind and label; absent before the first."
    )
    process: ProcessFigures = Field(description="What the process and its children use.")


class PacingMessage(MessageModel):
    """Why the camera is looked at as often as it is; once a second, only with pacing.explain."""

    model_config = ConfigDict(title="Pacing decisions")
    topic: ClassVar[str] = "pacing"

    v: Literal[1] = Field(description="Version of the schema.")
    pace: Literal["idle", "busy", "burst"] = Field(description="How busy the scene is.")
    next_look_s: float = Field(description="Seconds until the next look.")
    limit: str = Field(description="What bounds the rate.")
    searched: bool = Field(description="Whether faces were searched for in the last look.")
    search: str = Field(description="Why, or why not.")
    faces: Count = Field(description="Faces in view.")
    read: Count = Field(description="Faces whose expression was read in the last look.")
    readings: list[str] = Field(description="Why faces were read, or not.")


class LostRun(MessagePart):
    """A run of messages that will never be delivered."""

    boot_id: str = Field(description="Their boot_id; empty when unknown.")
    count: Count = Field(description="How many messages.")
    reason: str = Field(description="Why.")
    first_seq: Positive = absent("First seq, when known.")
    last_seq: Positive = absent("Last seq, when known.")
    start: Timestamp = absent("Begin, RFC 3339 in UTC, when known.")
    end: Timestamp = absent("End, RFC 3339 in UTC, when known.")


class GapsMessage(MessageModel):
    """What will never be delivered, and why; retained, only there when something was lost."""

    model_config = ConfigDict(title="Messages that will never be delivered")
    topic: ClassVar[str] = "gaps"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    dropped: Count = Field(description="Messages given up so far.")
    dead_lettered: Count = Field(description="Messages refused for good by the broker so far.")
    salvages: Count = Field(description="How often a damaged outbox was repaired.")
    gaps: list[LostRun] = Field(description="The latest runs of lost messages.")
