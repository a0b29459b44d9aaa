"""Hume's inference with custom models: the request, the prediction of a file, and the list of the models.

A request names a custom model of this device: ``{"custom_model": {"id": "mood"}}`` its newest version,
``{"version_id": "mood@3"}`` a certain one. Each file gets one prediction: ``output`` by label, or ``value``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.api import ConfigError, CustomModels, EdgeAgentError, MediaError
from edge_agent.domain.text import printable

log = logging.getLogger(__name__)

_NAME = "[a-z][a-z0-9_-]{0,31}"


class CustomModelChoice(BaseModel):
    """``custom_model`` of a request: ``id`` is the name of a model, ``version_id`` ``NAME@VERSION``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Annotated[str, Field(pattern=f"^{_NAME}$")] | None = None
    version_id: Annotated[str, Field(pattern=f"^{_NAME}@[1-9][0-9]{{0,8}}$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> CustomModelChoice:
        if self.id is None and self.version_id is None:
            raise ValueError("id or version_id of a custom model is needed")
        return self

    @property
    def name(self) -> str:
        """Name of the model."""
        return (self.version_id or self.id or "").partition("@")[0]

    @property
    def version(self) -> int | None:
        """The version that is asked for; None: the newest."""
        return int(self.version_id.partition("@")[2]) if self.version_id else None

    @property
    def analyzer(self) -> str:
        """Name of the analyzer that the config may switch off."""
        return f"custom:{self.name}"


def judge(
    models: CustomModels,
    choice: CustomModelChoice,
    content: Path | str,
    watch: Callable[[float], None] = lambda _seconds: None,
) -> dict[str, Any]:
    """Judge a file or a text as Hume's ``custom_models`` of a prediction.

    Raises:
        EdgeAgentError: there is no such model, or it cannot judge this; says why, without the path of the file.
    """
    model = models.load(choice.name, choice.version)
    try:
        output = models.text(model, content) if isinstance(content, str) else models.file(model, content, watch)
    except EdgeAgentError as error:
        raise type(error)(str(error).removeprefix(f"{content}: ").replace(str(content), "this file")) from None
    values = {label: round(value, 6) for label, value in output.items()}
    return {choice.name: {"output": values, "error": "", "task_type": model.about.task}}


class CustomAnswers:
    """Custom models for all connections of a server, opened when the first client asks. Thread-safe.

    ``withheld``: analyzers that the config switches off.
    """

    def __init__(
        self, open_models: Callable[[], CustomModels] = CustomModels, withheld: frozenset[str] = frozenset()
    ) -> None:
        self._open, self._withheld = open_models, withheld
        self._lock = threading.Lock()
        self._models: CustomModels | None = None

    def answer(self, names: Iterable[str], content: Path | str) -> dict[str, Any]:
        """Judge a file or a text by the newest version of each model; one that cannot tells why in ``error``."""
        return {name: self._answer(name, content) for name in names}

    def _answer(self, name: str, content: Path | str) -> dict[str, Any]:
        try:
            choice = CustomModelChoice(id=name)
            if choice.analyzer in self._withheld:
                raise ConfigError(f"this device's config switches {choice.analyzer} off")
            with self._lock:
                self._models = self._models or self._open()
            told: dict[str, Any] = judge(self._models, choice, content)[name]
        except ValidationError:
            return _unjudged(f"no custom model {printable(name, lines=False)[:40]!r}")
        except (ConfigError, MediaError) as error:
            return _unjudged(str(error))
        except EdgeAgentError as error:
            log.warning("custom model %s: %s", name, error)
            return _unjudged("this custom model cannot be used now; the device's log says why")
        return told


def _unjudged(why: str) -> dict[str, Any]:
    return {"output": {}, "error": why, "task_type": ""}


def grouped(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction of one custom model as ``grouped_predictions``, for its table: a column for each label."""
    scores = [{"name": label, "score": value} for label, value in prediction["output"].items()]
    return {"metadata": None, "grouped_predictions": [{"id": "unknown", "predictions": [{"emotions": scores}]}]}


def listed(models: CustomModels) -> dict[str, Any]:
    """The models of this device as the answer to ``GET /v0/registry/models``, on one page, without damaged ones."""
    found = []
    for name in models.names():
        try:
            found.append(described(models, name))
        except EdgeAgentError:
            continue
    return {
        "content": found,
        "pageable": {"page_number": 0, "page_size": len(found)},
        "total_elements": len(found),
        "total_pages": 1,
    }


def described(models: CustomModels, name: str) -> dict[str, Any]:
    """A model as Hume's registry tells it; ``labels``, ``medium`` and ``scores`` are ours. Raises EdgeAgentError."""
    about = models.load(name).about
    created = round(1000 * datetime.fromisoformat(about.created).timestamp())
    version = {
        "id": f"{name}@{about.version}",
        "model_id": name,
        "version": about.version,
        "created_on": created,
        "task_type": about.task,
        "labels": list(about.labels),
        "medium": about.medium,
        "scores": about.document()["scores"],
    }
    return {"id": name, "name": name, "created_on": created, "latest_version": version}
