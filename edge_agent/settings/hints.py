"""What could have been meant instead of an unknown key. Pure; knows models, not files."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest known word, else the list of known words."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(options)}" if options else ""


def known_keys(model: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    """Keys accepted in the table of ``model`` at ``location``."""
    for part in location:
        if part.isdecimal():  # an entry of a list of tables
            continue
        field = model.model_fields.get(part)
        inner = model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is tuple:
        return model_of(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((m for m in map(model_of, typing.get_args(annotation)) if m), None)
    return None
