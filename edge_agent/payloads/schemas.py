"""JSON Schemas of the messages, and their tables in ``docs/mqtt.md``, made from the models.

The schemas in ``edge_agent/payloads/schema/`` are written by ``scripts/docs``. They are open, since fields may be added
within a version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.payloads.device import (
    ConfigMessage,
    GapsMessage,
    HealthMessage,
    InfoMessage,
    PacingMessage,
    ResponseMessage,
    StateMessage,
    UpdateMessage,
)
from edge_agent.payloads.messages import EventMessage, MessageModel, PresenceMessage, SummaryMessage
from edge_agent.payloads.rendering import VERSION

MESSAGES: Mapping[str, type[MessageModel]] = {
    "summary": SummaryMessage,
    "event": EventMessage,
    "presence": PresenceMessage,
    "state": StateMessage,
    "health": HealthMessage,
    "info": InfoMessage,
    "config": ConfigMessage,
    "update": UpdateMessage,
    "pacing": PacingMessage,
    "gaps": GapsMessage,
    "response": ResponseMessage,
}
"""Every message by the name of its schema."""


def schema(kind: str, *, closed: bool = False) -> dict[str, Any]:
    """The JSON Schema of messages of ``kind``; ``closed``: it refuses fields that it does not know, for tests.

    Raises:
        KeyError: there is no such message.
    """
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edge-agent:{kind}-v{VERSION}",
        **_tidy(MESSAGES[kind].model_json_schema()),
    }
    fields = document["properties"]  # what all messages have in common stands after what is this one's own
    for name in MessageModel.model_fields:
        fields[name] = fields.pop(name)
    if closed:
        document = json.loads(json.dumps(document), object_hook=_closed)
    return document


def schema_files() -> dict[str, str]:
    """The schema of every message as text, by file name."""
    return {f"{kind}-v{VERSION}.json": json.dumps(schema(kind), indent=2) + "\n" for kind in MESSAGES}


def tables() -> dict[str, str]:
    """Markdown tables of the fields of every message, by its name."""
    return {kind: _table(schema(kind)) for kind in MESSAGES}


def _tidy(part: Any) -> Any:
    """``part`` of a schema without the titles that pydantic makes of field names, and with one-line descriptions."""
    if isinstance(part, list):
        return [_tidy(item) for item in part]
    if not isinstance(part, dict):
        return part
    tidy: dict[str, Any] = {}
    for name, value in part.items():
        if name == "properties":
            tidy[name] = {field: _tidy({k: v for k, v in sub.items() if k != "title"}) for field, sub in value.items()}
        elif name == "description":
            tidy[name] = " ".join(value.split())
        elif name == "$defs":
            tidy[name] = {of: _tidy({k: v for k, v in sub.items() if v != of}) for of, sub in value.items()}
        else:
            tidy[name] = _tidy(value)
    return tidy


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    """``part`` of a schema; an object whose properties are listed has no others."""
    listed = part.get("type") == "object" and isinstance(part.get("properties"), dict)
    return {"additionalProperties": False} | part if listed else part


def _table(document: dict[str, Any]) -> str:
    rows = "\n".join(f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in _rows(document, document, ""))
    return f"| field | value | meaning |\n| --- | --- | --- |\n{rows}\n"


def _rows(part: dict[str, Any], root: dict[str, Any], above: str) -> Iterator[tuple[str, str, str]]:
    """Path, kind of value and meaning of every field of the object ``part``, those of its own fields after it."""
    for name, field in part["properties"].items():
        path, optional = f"{above}{name}", name not in part.get("required", ())
        meaning = _resolved(field, root).get("description", "").replace("|", "\\|")
        yield path, _kind(field, root) + (", optional" if optional else ""), meaning
        for kind, suffix in _objects(field, root):
            if kind.get("title") is None:  # a message inside of a message has a table of its own
                yield from _rows(kind, root, f"{path}{suffix}.")


def _objects(field: dict[str, Any], root: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Objects with listed fields in the value of ``field``, each with what stands for its place in the path."""
    for kind in field.get("anyOf", [field]):
        found = _resolved(kind, root)
        if "properties" in found:
            yield found, ""
        if isinstance(found.get("items"), dict):
            yield from ((inner, f"[]{suffix}") for inner, suffix in _objects(found["items"], root))
        if isinstance(found.get("additionalProperties"), dict):
            yield from ((inner, f".*{suffix}") for inner, suffix in _objects(found["additionalProperties"], root))


def _kind(field: dict[str, Any], root: dict[str, Any]) -> str:
    """The kind of value in words: ``integer ≥ 0 or null``."""
    if "anyOf" in field:
        return " or ".join(_kind(kind, root) for kind in field["anyOf"])
    found = _resolved(field, root)
    if "const" in found:
        return f"`{json.dumps(found['const'])}`"
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    kind = str(found["type"])
    if kind == "array":
        return f"list of {_kind(found['items'], root)}"
    if kind == "object" and isinstance(found.get("additionalProperties"), dict):
        return f"object of {_kind(found['additionalProperties'], root)} by name"
    return f"{kind}{_range(found)}" if kind in ("integer", "number") else kind


def _range(found: dict[str, Any]) -> str:
    least, above, most = found.get("minimum"), found.get("exclusiveMinimum"), found.get("maximum")
    if least is not None:
        return f", {least:g} or more" if most is None else f" from {least:g} to {most:g}"
    return "" if above is None else f" above {above:g}"


def _resolved(part: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = part.get("$ref", "")
    return root["$defs"][reference.rpartition("/")[2]] | part if reference else part
