"""Models of the messages about what was seen and heard: summaries (roll-ups and backfill alike), events and presence.

``scripts/docs`` makes the JSON Schemas and the tables of ``docs/mqtt.md`` from these models. A field with a default is
left out of a payload when there is nothing to say; it is never null. A field without one is always there, and null only
where its type says so. Unknown fields are ignored, because fields may be added within a version.

Nothing on the way to the broker imports this module: tests compare what is published with it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=-1, le=1)]
Label = Annotated[str, Field(min_length=1)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
BootId = Annotated[str, Field(min_length=1, max_length=64)]
PlaceName = Annotated[str, Field(min_length=1, max_length=64)]
LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
LanguageName = Literal[
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
]  # fmt: skip
EmotionName = Literal["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
Reasons = Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)]
"""Seconds by reason."""


def _without_nulls(schema: dict[str, Any]) -> None:
    """Describe optional fields as what they are when present: they are left out instead of null."""
    for name, part in schema.get("properties", {}).items():
        if name in schema.get("required", ()) or part.pop("default", "") is not None:
            continue
        kinds = [kind for kind in part.pop("anyOf", ()) if kind != {"type": "null"}]
        schema["properties"][name] = part | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def absent(description: str, **more: Any) -> Any:
    """A field that is left out of a payload when there is nothing to say."""
    return Field(default=None, description=description, **more)


class MessagePart(BaseModel):
    """An object inside a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=_without_nulls)

    @model_validator(mode="before")
    @classmethod
    def _refuse_null_for_absent(cls, value: Any) -> Any:
        """Refuse null for a field that is left out when there is nothing to say."""
        if isinstance(value, dict):
            for name, field in cls.model_fields.items():
                if not field.is_required() and value.get(name, field) is None:
                    raise ValueError(f"{name}: left out when there is nothing to say, never null")
        return value


class MessageModel(MessagePart):
    """A whole message; ``topic`` says below the device's prefix where it is published."""

    topic: ClassVar[str]

    site: PlaceName = absent("Where the device stands (device.site).")
    labels: Annotated[dict[LabelKey, PlaceName], Field(min_length=1, max_length=16)] = absent(
        "Groups that the device belongs to (device.labels)."
    )


class FacesPart(MessagePart):
    """People in view. All null when nobody could be seen in the whole window: 0 means that the camera saw nobody."""

    max: Count | None = Field(description="Most people at once.")
    mean: Seconds | None = Field(description="Average number of people over the observed time.")
    person_seconds: Seconds | None = Field(description="Seconds in view, added up over all people.")
    tracks: Count | None = Field(description="Distinct people (tracks) seen.")


class EmotionShares(MessagePart):
    """Share of each expression; they add up to 1."""

    neutral: Probability = Field(description="Share of neutral.")
    happiness: Probability = Field(description="Share of happiness.")
    surprise: Probability = Field(description="Share of surprise.")
    sadness: Probability = Field(description="Share of sadness.")
    anger: Probability = Field(description="Share of anger.")
    disgust: Probability = Field(description="Share of disgust.")
    fear: Probability = Field(description="Share of fear.")
    contempt: Probability = Field(description="Share of contempt.")


class EmotionPart(MessagePart):
    """How an average observer would label the expressions seen, not what people feel."""

    dominant: EmotionName = Field(description="Expression with the largest share.")
    p: EmotionShares = Field(description="Share of each expression; they add up to 1.")
    valence: Share = Field(description="From unpleasant (-1) to pleasant (1).")
    confidence: Probability = Field(description="How sure the estimate is.")
    readings: Positive = Field(description="Readings of faces that the estimate rests on.")


class BurstPart(MessagePart):
    """Vocal bursts of one label."""

    label: Label = Field(description="Kind of sound, such as laughter or cough.")
    count: Positive = Field(description="Number of bursts.")
    peak: Probability = Field(description="Highest score among them.")
    seconds: Seconds = Field(description="Their durations added up, in seconds.")


class CoveragePart(MessagePart):
    """Share of the window that was seen and heard."""

    video: Probability = Field(description="Share of the window in which people could be seen.")
    audio: Probability = Field(description="Share of the window that was heard.")


class QualityPart(MessagePart):
    """How well the streams were captured and analysed."""

    video_fps: Seconds = Field(description="Frames captured per second.")
    analysed_fps: Seconds = Field(description="Frames analysed per second.")
    coverage: CoveragePart = Field(description="Share of the window that was seen and heard.")
    dropped: Count = Field(description="Frames captured but lost.")
    flags: list[Label] = Field(
        description="What was wrong at some time of the window: during dark, covered, frozen and no_detector nobody "
        "could be seen, and that time is missing from coverage; analyzers may add others.",
        json_schema_extra={"uniqueItems": True},
    )


class AttentionPart(MessagePart):
    """How much people looked at the camera."""

    ratio: Probability = Field(description="Share of the known time in which people looked at the camera.")
    seconds: Seconds = Field(description="Person-seconds in which they did.")
    per_person: Seconds = absent("Engagement: seconds of looking that each person there gave on average.")
    by_eyes: Probability = absent(
        "Share of the known time in which the direction of the eyes decided; in the rest the head's did."
    )


class StaysPart(MessagePart):
    """People who left during the window."""

    count: Positive = Field(description="How many left.")
    mean: Seconds = Field(description="Their mean stay in seconds.")
    longest: Seconds = Field(description="The longest stay in seconds.")


class TrendPart(MessagePart):
    """This window against the minute before; changes below 0.05 are left out."""

    valence: Annotated[float, Field(ge=-2, le=2)] = absent("Change of valence.")
    people: float = absent("Change of the mean number of people.")
    attention: Share = absent("Change of the attention ratio.")


class FusedPart(MessagePart):
    """Something seen and heard within about a second."""

    label: Label = Field(description="What was heard and seen, as laughter+happiness.")
    count: Positive = Field(description="How often.")
    peak: Probability = Field(description="Highest score among them.")


class LanguagePart(MessagePart):
    """What was said, not the words. Emotions as a reader would name them in the text (GoEmotions)."""

    utterances: Count = Field(description="Utterances that were understood.")
    words: Count = Field(description="Words in them.")
    judged: Count = Field(description="Utterances whose emotions could be judged: English and long enough.")
    dominant: LanguageName = absent("The most probable class; neutral only where it dominates.")
    p: Annotated[dict[LanguageName, Probability], Field(min_length=1, max_length=3)] = absent(
        "Mean probability of the dominant few classes over the judged utterances. Classes are independent of each "
        "other, so these do not add up to 1."
    )
    lost: Annotated[float, Field(gt=0)] = absent("Seconds of sound not listened to, because recognition fell behind.")


class VoicePart(MessagePart):
    """How people spoke, whatever they said."""

    arousal: Share = absent("From calm (-1) to excited (1), against what is usual for the voice; absent while unknown.")
    seconds: Seconds = Field(description="Seconds of speech.")
    turns: Positive = Field(description="Turns of speech.")


class RecognisedPerson(MessagePart):
    """One recognised person, only with identity.join_emotion."""

    seconds: Seconds = Field(description="Seconds in view.")
    p: EmotionShares = absent("Share of each expression on this person's face.")


class IdentityPart(MessagePart):
    """How many enrolled and other people were seen. No names, unless identity.join_emotion says so."""

    known: Count = Field(description="Most enrolled people at once.")
    known_seconds: Seconds = Field(description="Seconds in view, added up over enrolled people.")
    unknown_seconds: Seconds = Field(description="Seconds in view, added up over people who are not enrolled.")
    people: Annotated[dict[Label, RecognisedPerson], Field(min_length=1)] = absent(
        "Each recognised person by name; only with identity.join_emotion."
    )


class MeasurePart(MessagePart):
    """Another number that an analyzer reports."""

    mean: float = Field(description="Average over the observations.")
    min: float = Field(description="Lowest observation.")
    max: float = Field(description="Highest observation.")
    sum: float = absent("Sum of the observations, for numbers of things.")
    n: Positive = Field(description="Number of observations.")


class UnknownPart(MessagePart):
    """Seconds by reason in which nobody could be seen or nothing be heard."""

    people: Reasons = absent("Seconds in which nobody could be seen, by reason.")
    sounds: Reasons = absent("Seconds in which nothing could be heard, by reason.")


class SummaryMessage(MessageModel):
    """What a camera and a microphone amounted to between start and start + seconds. (device, boot_id, seq) identifies
    it: the same key twice is a repeated delivery."""

    model_config = ConfigDict(title="Summary of a window of time")
    topic: ClassVar[str] = "summary, backfill/summary, rollup/<seconds>"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    boot_id: BootId = Field(description="Changes with every start of the agent.")
    seq: Positive = Field(description="Counts the messages since that start.")
    start: Timestamp = Field(description="Begin of the window, RFC 3339 in UTC.")
    seconds: Seconds = Field(description="Length of the window in seconds.")
    clock: Literal["synced", "unsynced"] = Field(
        description="unsynced: the device did not know the time; start may be off by years."
    )
    faces: FacesPart = Field(
        description="People in view. All null when nobody could be seen in the whole window (unknown.people says why): "
        "0 means that the camera saw nobody."
    )
    emotion: EmotionPart | None = Field(
        description="How an average observer would label the expressions seen; null when there is too little evidence."
    )
    bursts: list[BurstPart] = Field(description="Vocal bursts by label, in alphabetical order.")
    quality: QualityPart = Field(description="How well the streams were captured and analysed.")
    attention: AttentionPart = absent("How much people looked at the camera.")
    stays: StaysPart = absent("People who left.")
    lift: Annotated[dict[EmotionName, Share], Field(min_length=1)] = absent(
        "By how much expressions exceed what this place usually shows; differences below 0.05 are left out.",
    )
    trend: TrendPart = absent(
        "This window against the minute before; changes below 0.05 are left out.",
        json_schema_extra={"minProperties": 1},
    )
    fused: Annotated[list[FusedPart], Field(min_length=1)] = absent("What was seen and heard within about a second.")
    unknown: UnknownPart = absent(
        "Seconds of the window in which nobody could be seen (people) or nothing be heard (sounds), by "
        "reason; all figures are about the rest.",
        json_schema_extra={"minProperties": 1},
    )
    language: LanguagePart = absent("What was said; absent when nobody spoke, or no analyzer of speech runs.")
    voice: VoicePart = absent("How people spoke; absent when nobody did, or no analyzer of voices runs.")
    identity: IdentityPart = absent("Whom of the people in view the device knows; only where people are recognised.")
    measures: Annotated[dict[str, MeasurePart], Field(min_length=1)] = absent(
        "Other numbers that analyzers reported, named observation.term."
    )
    withheld: Annotated[float, Field(gt=0)] = absent(
        "Seconds in which fewer people than privacy.min_people were seen together; emotion, attention, stays, "
        "lift, trend, fused, language, voice, identity and measures are about the rest.",
    )
    merged: Annotated[int, Field(ge=2)] = absent(
        "Number of stored windows this one was merged from while the device was offline."
    )
    replayed: Literal[True] = absent("Delivered late, on backfill/summary.")


class EventMessage(MessageModel):
    """Something that happened at a moment. (device, boot_id, seq) identifies it: the same key twice is a repeated
    delivery."""

    model_config = ConfigDict(title="Something that happened at a moment")
    topic: ClassVar[str] = "event/<kind>, backfill/event"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    boot_id: BootId = Field(description="Changes with every start of the agent.")
    seq: Positive = Field(description="Counts the messages since that start.")
    kind: Label = Field(description="burst, arrival, departure, fusion, recognised, utterance, or a plugin's own.")
    label: Label = Field(description="What it was: the kind of sound, person, or speech.")
    score: Probability = Field(description="How sure it is; 1 for an utterance whose recognizer does not say.")
    start: Timestamp = Field(description="When it began, RFC 3339 in UTC.")
    seconds: Seconds = Field(description="How long it lasted, in seconds.")
    text: Label = absent("What was said, in an utterance; only with privacy.publish_text.")
    name: Label = absent("Who came, in an event of kind recognised; only with identity.publish_names.")
    clock: Literal["unsynced"] = absent("Present when the device did not know the time: start may be off by years.")
    replayed: Literal[True] = absent("Delivered late, on backfill/event.")


class PresenceMessage(MessageModel):
    """How many people are in view now, or why that is unknown; retained."""

    model_config = ConfigDict(title="People in view now")
    topic: ClassVar[str] = "presence"

    v: Literal[1] = Field(description="Version of the schema.")
    device: DeviceId = Field(description="device.id of the config.")
    count: Count | None = Field(description="People in view; null when unknown.")
    occupied: bool | None = Field(description="Whether anybody is in view; null when unknown.")
    unknown: Label | None = Field(description="Why nobody can be seen now, as in summaries; null when it is known.")
    names: list[Label] = absent(
        "Enrolled people in view; only with identity.publish_names, and while people are known."
    )
