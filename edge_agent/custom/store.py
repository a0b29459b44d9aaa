"""Custom models at run time: a linear model in plain numpy, and the folder that holds their versions.

A version is one file, ``NAME/0001.npz``, which is never overwritten: it appears whole or not at all, also when the
power fails. Nothing in such a file is executed when it is read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.custom.examples import Medium, Task
from edge_agent.domain.errors import ConfigError, ModelError
from edge_agent.domain.files import replace_durably, sync_folder
from edge_agent.domain.text import did_you_mean

FORMAT = 1
"""Version of the file format."""
KEPT = 5
"""Versions of a model that are kept, the newest ones."""
ABANDONED_S = 3600.0
"""Drafts older than this are of trainings that were killed: they are deleted."""
VALUE = "value"
"""Term of a regression's answer."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_VERSION = re.compile(r"[0-9]{4,}\.npz")

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """How a model did on sources that it was not trained on.

    ``score``: balanced accuracy of a classification, R² of a regression; ``baseline``: the same of an answer that
    ignores the example (the most frequent label, the mean); ``low``: 5th percentile over the choice of sources.
    ``good`` if ``low`` is above the baseline by a margin, else ``reason`` says what is wrong. ``details``: accuracy and
    recall by label, or the mean absolute error.
    """

    measure: str
    score: float
    baseline: float
    low: float
    good: bool
    reason: str
    sources: int
    examples: int
    details: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class About:
    """Description of a custom model. ``embedding`` names what turns media into its vectors."""

    name: str
    medium: Medium
    task: Task
    embedding: str
    labels: tuple[str, ...]
    scores: Scores
    created: str
    warnings: tuple[str, ...] = ()
    version: int = 0

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        scores = {key: getattr(self.scores, key) for key in Scores.__slots__}
        return {**{key: getattr(self, key) for key in About.__slots__}, "scores": scores}


@dataclass(frozen=True, slots=True, eq=False)
class CustomModel:
    """Linear model on vectors: float32 ``weights`` [d, k] and ``bias`` [k] on (x - ``mean``) / ``scale``."""

    about: About
    mean: Vectors
    scale: Vectors
    weights: Vectors
    bias: Vectors

    def predict(self, vectors: Vectors) -> dict[str, float]:
        """Judge the vectors [n, d] of one example: a probability for each label, or ``value``.

        Raises:
            ModelError: they are not such vectors.
        """
        if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != len(self.mean):
            raise ModelError(f"custom model {self.about.name!r} takes vectors of {len(self.mean)}: train it again")
        answers = ((vectors - self.mean) / self.scale) @ self.weights + self.bias
        if self.about.task == "regression":
            return {VALUE: float(answers.mean())}
        powers = np.exp(answers - answers.max(axis=1, keepdims=True))
        p = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
        return {label: float(value) for label, value in zip(self.about.labels, p, strict=True)}

    def to_bytes(self) -> bytes:
        """Contents of its file."""
        told = json.dumps({"format": FORMAT, **self.about.document()}, ensure_ascii=False)
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in ("mean", "scale", "weights", "bias")}
        np.savez_compressed(buffer, about=np.frombuffer(told.encode(), np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, origin: str) -> CustomModel:
        """Read the contents of a file. Raises ModelError, which names ``origin``."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as kept:
                told = json.loads(kept["about"].tobytes())
                arrays = [np.asarray(kept[name], np.float32) for name in ("mean", "scale", "weights", "bias")]
            if (form := told.pop("format")) != FORMAT:
                raise ModelError(f"{origin}: format {form} is not known here: train it again, or update edge-agent")
            scores = Scores(**told.pop("scores"))
            told |= {"labels": tuple(told["labels"]), "warnings": tuple(told["warnings"])}
            model = cls(About(**told, scores=scores), *arrays)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{origin}: damaged ({type(error).__name__}): delete the file or train it again") from None
        model._check(origin)
        return model

    def _check(self, origin: str) -> None:
        outputs = len(self.about.labels) if self.about.task == "classification" else 1
        size = len(self.mean) if self.mean.ndim == 1 else -1
        shapes = (self.scale.shape, self.weights.shape, self.bias.shape) == ((size,), (size, outputs), (outputs,))
        finite = all(np.isfinite(a).all() for a in (self.mean, self.scale, self.weights, self.bias))
        if not (shapes and finite and (self.scale > 0).all()):
            raise ModelError(f"{origin}: damaged (its numbers do not fit together): delete the file or train it again")


class CustomStore:
    """Folder of custom models; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> tuple[str, ...]:
        """Names of the models there are."""
        try:
            entries = sorted(entry.name for entry in self.folder.iterdir() if _NAME.fullmatch(entry.name))
        except OSError:
            return ()
        return tuple(name for name in entries if self.versions(name))

    def versions(self, name: str) -> tuple[int, ...]:
        """Versions of a model, the oldest first."""
        try:
            found = [entry.name for entry in (self.folder / name).iterdir() if _VERSION.fullmatch(entry.name)]
        except OSError:
            return ()
        return tuple(sorted(int(entry[:-4]) for entry in found))

    def load(self, name: str, version: int | None = None) -> CustomModel:
        """Load a version, by default the newest.

        Raises:
            ConfigError: there is no such model or version.
            ModelError: its file is damaged.
        """
        known = self.versions(self._known(name))
        if version is not None and version not in known:
            raise ConfigError(f"custom model {name!r} has no version {version}; there are {', '.join(map(str, known))}")
        path = self._path(name, known[-1] if version is None else version)
        try:
            return CustomModel.from_bytes(path.read_bytes(), str(path))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from None

    def add(self, model: CustomModel) -> CustomModel:
        """Store a model as the newest version of its name, and delete versions beyond :data:`KEPT`.

        Raises:
            ModelError: the folder cannot be written.
        """
        name = check_name(model.about.name)
        draft = self.folder / name / f".{secrets.token_hex(4)}.draft"
        version = max(self.versions(name), default=0)
        try:
            while True:
                version += 1
                numbered = replace(model, about=replace(model.about, version=version))
                replace_durably(draft, numbered.to_bytes(), 0o600)
                with contextlib.suppress(FileExistsError):  # another training took the number
                    os.link(draft, self._path(name, version))
                    break
            draft.unlink()
            for old in self.versions(name)[:-KEPT]:
                self._path(name, old).unlink(missing_ok=True)
            for path in (self.folder / name).glob(".*"):
                if path.stat().st_mtime < time.time() - ABANDONED_S:
                    path.unlink(missing_ok=True)
            sync_folder(self.folder / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise ModelError(
                f"{self.folder}: cannot be written: {error.strerror}: free space, or set device.state_dir "
                "to a folder of this user"
            ) from None
        return numbered

    def delete(self, name: str) -> None:
        """Delete all versions of a model. Raises ConfigError when there is none, ModelError when that fails."""
        folder = self.folder / self._known(name)
        gone = folder.with_name(f".{name}.{secrets.token_hex(4)}.deleted")
        try:
            folder.rename(gone)  # at once, whatever happens while the files are deleted
            sync_folder(self.folder)
            shutil.rmtree(gone)
        except OSError as error:
            raise ModelError(f"{folder}: cannot be deleted: {error.strerror}") from None

    def _known(self, name: str) -> str:
        names = self.names()
        if name not in names:
            raise ConfigError(f"no custom model {name!r}{did_you_mean(name, names, 'there are: {}')}")
        return name

    def _path(self, name: str, version: int) -> Path:
        return self.folder / name / f"{version:04d}.npz"


def check_name(name: str) -> str:
    """Return ``name`` if a model may have it. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a model: use up to 32 of a-z, 0-9, - and _, a letter first")
    return name
