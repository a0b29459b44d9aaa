"""Reading what the agent publishes, never without its schema."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from edge_agent.delivery import payload as render
from edge_agent.domain.event import MessageKind
from edge_agent.domain.observation import EMOTIONS


def validated(payload: bytes) -> dict[str, Any]:
    """The summary or event in ``payload``, checked against its published schema and for numbers that add up."""
    document: dict[str, Any] = json.loads(payload)
    _validator("event" if "kind" in document else "summary").validate(document)
    if document.get("emotion"):
        assert abs(sum(document["emotion"]["p"].values()) - 1) < 0.002
        assert list(document["emotion"]["p"]) == list(EMOTIONS)
    return document


def key(document: dict[str, Any]) -> tuple[str, str, int]:
    """What makes a message recognisable when it comes twice."""
    return document["device"], document["boot_id"], document["seq"]


@cache
def _validator(kind: MessageKind) -> Draft202012Validator:
    schema = render.schema(kind, closed=True)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
