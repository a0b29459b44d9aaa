"""What words express, in Hume's names: the 28 emotions of the language model, and why nothing can be told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.api import Observation, Passage
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_UNKNOWN

Reading = tuple[Passage, tuple[Observation, ...]]

UNKNOWN: Mapping[str, str] = {
    "empty": "there is no text",
    "not_english": "this is not English, and only English can be judged",
    "too_short": "this is too short to be judged",
}
"""Why a text could not be judged, for people."""


LANGUAGE_NAMES: Mapping[str, str] = {
    name: name.capitalize()
    for name in (
        "admiration", "amusement", "anger", "annoyance", "confusion", "desire", "disappointment", "disapproval",
        "disgust", "embarrassment", "excitement", "fear", "gratitude", "joy", "love", "pride", "realization", "relief",
        "sadness",
    )
}  # fmt: skip
"""The GoEmotions classes that are among the 53 names of Hume's language model, under the same word."""


def word_emotions(values: Mapping[str, float]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores under Hume's names, and those of the emotions that Hume has no name for, under ours."""
    named = [{"name": LANGUAGE_NAMES[k], "score": round(p, 6)} for k, p in values.items() if k in LANGUAGE_NAMES]
    return named, [{"name": k, "score": round(p, 6)} for k, p in values.items() if k not in LANGUAGE_NAMES]


def probabilities(observations: Sequence[Observation]) -> Mapping[str, float] | None:
    """What the words express, None when that is unknown."""
    return next((o.values for o in observations if o.name == LANGUAGE), None)


def doubt(observations: Sequence[Observation]) -> str:
    """Why what the words express is unknown, for people."""
    reason = next((next(iter(o.values)) for o in observations if o.name == LANGUAGE_UNKNOWN), "")
    return UNKNOWN.get(reason, "nothing could be judged")


def undecided(readings: Sequence[Reading]) -> str:
    """Why parts of a text are missing among the predictions; empty when none is."""
    missing = [doubt(observations) for _, observations in readings if probabilities(observations) is None]
    if not missing:
        return "" if readings else UNKNOWN["empty"]
    return f"{len(missing)} of {len(readings)} parts: {'; '.join(dict.fromkeys(missing))}"
