"""Reading what the agent publishes, never without its schema."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from edge_agent.domain.observation import EMOTIONS
from edge_agent.payloads.schemas import MESSAGES, schema


def validated(payload: bytes) -> dict[str, Any]:
    """The summary or event in ``payload``, checked against its published schema and for numbers that add up."""
    document = checked("event" if "kind" in json.loads(payload) else "summary", payload)
    if document.get("emotion"):
        assert abs(sum(document["emotion"]["p"].values()) - 1) < 0.002
        assert list(document["emotion"]["p"]) == list(EMOTIONS)
    return document


def checked(kind: str, payload: bytes) -> dict[str, Any]:
    """The message in ``payload``, checked against the model and the schema of its ``kind``; it has no other fields."""
    document: dict[str, Any] = json.loads(payload)
    _validator(kind).validate(document)
    dumped = MESSAGES[kind].model_validate(document, strict=True).model_dump(exclude_unset=True, by_alias=True)
    assert json.loads(json.dumps(dumped)) == document
    return document


def kind_of(topic: str) -> str | None:
    """The kind of message on ``topic`` (below the device's prefix); None for ``status`` and for commands."""
    level, _, rest = topic.partition("/")
    if level == "cmd":
        return "response" if rest.endswith("/response") else None
    kind = {"backfill": rest, "rollup": "summary"}.get(level, level)
    return None if kind == "status" else kind


def key(document: dict[str, Any]) -> tuple[str, str, int]:
    """What makes a message recognisable when it comes twice."""
    return document["device"], document["boot_id"], document["seq"]


@cache
def _validator(kind: str) -> Draft202012Validator:
    document = schema(kind, closed=True)
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)
