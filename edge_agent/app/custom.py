"""Custom models from files: find faces, sound and words in recordings, train on them, and try a model on one.

Nothing is sent; of the recordings, only the numbers of the model are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.analysis.pacing import Bounds
from edge_agent.analysis.tracking import Tracker, TrackingRules
from edge_agent.app.builder import PipelineBuilder, Pull, custom_folder, pull_quietly
from edge_agent.capture.media import iter_blocks, iter_frames
from edge_agent.custom.embedding import MIN_FACE_PX, FaceEmbedding, check_use, sound_windows, words_vector
from edge_agent.custom.examples import Example, ExampleSet, Medium, Task, medium_of, read_examples
from edge_agent.custom.store import CustomModel, CustomStore, Vectors, check_name
from edge_agent.custom.training import require_scikit_learn, train
from edge_agent.domain.errors import ConfigError, MediaError
from edge_agent.plugin.spec import AnalyzerContext, Kind
from edge_agent.settings import ConfigText, Settings, read

FPS = 2.0
"""Pictures per second of a film that are trained on."""
MOST_S = 600.0
"""Seconds of a recording that are used."""
MOST_BYTES = 1_000_000
"""Size of the largest text."""

_KINDS: dict[Medium, Kind | None] = {"face": Kind.DETECTOR, "sound": None, "words": Kind.TEXT}

Progress = Callable[[int, int], None]
"""Called with the number of examples done and of all."""
Watch = Callable[[float], None]
"""Called with the seconds of a recording that are done."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Outcome of a training. ``stored``: under ``model.about.version``; only good models are, unless asked for."""

    model: CustomModel
    stored: bool


class Extractor:
    """Vectors of examples of one medium. Holds models: close it."""

    def __init__(
        self, medium: Medium, config: ConfigText, settings: Settings, pull: Pull | None = pull_quietly
    ) -> None:
        wanted = _KINDS[medium]
        self._medium = medium
        self._builder = PipelineBuilder(config, settings, recorded=True, kinds={k: k is wanted for k in Kind})
        if pull is not None:
            self._builder.pull_missing(pull)
        self._builder.require_models()
        self._builder.activate()
        try:
            if wanted is not None:
                self._builder.require(wanted)
            context = AnalyzerContext(self._builder.store, settings.models.threads)
            self._faces = FaceEmbedding(context) if medium == "face" else None
        except BaseException:
            self._builder.close()
            raise

    def __call__(self, example: Example, watch: Watch = lambda _seconds: None) -> Vectors:
        """float32 [n, d] of an example. Raises MediaError when nothing in it can be judged."""
        if self._faces is not None:
            found = self._of_faces(_path(example), self._faces, watch)
        elif self._medium == "sound":
            found = sound_windows(_sound(_path(example), watch))
        else:
            text = example.text if example.path is None else _read_text(example.path)
            found = words_vector(text, self._builder.read(text))
        if not len(found):
            face = f"no face at least {MIN_FACE_PX} pixels wide"
            missing = face if self._faces else "only silence, or less than 0.2 s of sound"
            raise MediaError(f"{example.place}: {missing}: leave it out")
        return found

    def _of_faces(self, path: Path, embed: FaceEmbedding, watch: Watch) -> Vectors:
        """Vectors of the largest face of each picture."""
        lane, _ = self._builder.lanes(Bounds.at(FPS), tracker=Tracker(TrackingRules(confirm=1)))
        found = []
        for frame in iter_frames(path):
            watch(frame.time)
            if frame.time > MOST_S:
                break
            report = lane.offer(frame)
            seen = [t.face for t in report.faces if not t.coasting] if report else []
            if seen and (vector := embed(frame, max(seen, key=lambda face: face.box.area))) is not None:
                found.append(vector)
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)

    def close(self) -> None:
        """Free the models."""
        self._builder.close()


def custom_store(settings: Settings) -> CustomStore:
    """The custom models of this device."""
    return CustomStore(custom_folder(settings))


def train_files(
    name: str,
    path: Path,
    config: ConfigText,
    settings: Settings,
    *,
    medium: Medium | None = None,
    task: Task | None = None,
    accept_labels: bool = False,
    keep: bool = False,
    progress: Progress = lambda _done, _all: None,
    pull: Pull = pull_quietly,
) -> Trained:
    """Train the custom model ``name`` on the examples at ``path``; store it if it is good, or with ``keep`` anyway.

    Raises:
        ConfigError, MediaError: the examples cannot be used; says which and why.
        ModelError, PluginError: a model or plugin that is needed is missing, or the store cannot be written.
    """
    check_name(name)
    require_scikit_learn()
    chosen = read_examples(path, medium=medium, task=task, accept_labels=accept_labels)
    model = train(name, chosen, _vectors(chosen, config, settings, progress, pull))
    if not (model.about.scores.good or keep):
        return Trained(model, False)
    return Trained(custom_store(settings).add(model), True)


def _vectors(
    chosen: ExampleSet, config: ConfigText, settings: Settings, progress: Progress, pull: Pull
) -> list[Vectors]:
    extract = Extractor(chosen.medium, config, settings, pull)
    found, wrong = [], []
    try:
        for done, example in enumerate(chosen.examples, 1):
            try:
                found.append(extract(example))
            except MediaError as error:  # tell all of them at once
                wrong.append(str(error))
            progress(done, len(chosen.examples))
    finally:
        extract.close()
    if wrong:
        more = f"\n{len(wrong) - 10} more examples cannot be used" if len(wrong) > 10 else ""
        raise MediaError("\n".join(wrong[:10]) + more)
    return found


class Judge:
    """Judges files and texts by custom models; what makes vectors of them is loaded once. Close it.

    ``pull`` fetches models of the catalogue that are missing; None: they must be there. Thread-safe.
    """

    def __init__(self, config: ConfigText, settings: Settings, pull: Pull | None = pull_quietly) -> None:
        self._config, self._settings, self._pull = config, settings, pull
        self._extractors: dict[Medium, Extractor] = {}
        self._lock = threading.Lock()

    def file(self, model: CustomModel, path: Path, watch: Watch = lambda _seconds: None) -> dict[str, float]:
        """Judge a recording or a text file: a probability for each label, or ``value``.

        ``watch`` is called with the seconds of a recording that are done; it may raise to end the work.

        Raises:
            ConfigError: the file is of another medium than the model.
            MediaError: the file cannot be read, or nothing in it can be judged.
        """
        medium, film = medium_of(path)
        wanted = model.about.medium
        if medium != wanted and not (film and wanted == "sound"):
            raise ConfigError(f"{path} is for {medium}, but custom model {model.about.name!r} judges {wanted}")
        return self._judge(model, Example("", str(path), path), watch)

    def text(self, model: CustomModel, text: str) -> dict[str, float]:
        """Judge a text; as :meth:`file`."""
        if model.about.medium != "words":
            raise ConfigError(f"custom model {model.about.name!r} judges {model.about.medium}, not words")
        return self._judge(model, Example("", "text", None, text), lambda _seconds: None)

    def close(self) -> None:
        """Free what was loaded."""
        with self._lock:
            for extractor in self._extractors.values():
                extractor.close()
            self._extractors.clear()

    def _judge(self, model: CustomModel, example: Example, watch: Watch) -> dict[str, float]:
        medium = check_use(model).about.medium
        with self._lock:
            extractor = self._extractors.get(medium)
            if extractor is None:
                extractor = Extractor(medium, self._config, self._settings, self._pull)
                self._extractors[medium] = extractor
            return model.predict(extractor(example, watch))


class CustomModels:
    """Models of your own: trained on labelled recordings or texts, tried, loaded and deleted.

    ``config``: a config file, whose ``device.state_dir`` holds the models; None means the defaults. Live, in files and
    in a :class:`Session`, the analyzer ``custom:NAME`` runs where it is named. ``pull``: whether missing models of the
    catalogue are fetched. Close it when files or texts were judged.
    """

    def __init__(self, config: str | Path | None = None, *, pull: bool = True) -> None:
        self._config = read(None if config is None else Path(config))
        self._settings = self._config.settings()
        self._store = custom_store(self._settings)
        self._judge = Judge(self._config, self._settings, pull_quietly if pull else None)

    def train(
        self,
        name: str,
        examples: str | Path,
        *,
        on: Medium | None = None,
        task: Task | None = None,
        accept_labels: bool = False,
        keep: bool = False,
    ) -> CustomModel:
        """Train on a folder ``LABEL/SOURCE/FILE`` or a CSV table, and store the model if it is good, or if ``keep``.

        ``about.scores`` of the model says how it did on sources it had not seen; ``about.version`` is 0 when it is not
        stored. Needs the extra ``[custom]``.

        Raises:
            ConfigError, MediaError: the examples cannot be used; says which and why.
            ModelError: the model cannot be stored.
        """
        made = train_files(
            name,
            Path(examples),
            self._config,
            self._settings,
            medium=on,
            task=task,
            accept_labels=accept_labels,
            keep=keep,
        )
        return made.model

    def names(self) -> tuple[str, ...]:
        """Names of the stored models."""
        return self._store.names()

    def load(self, name: str, version: int | None = None) -> CustomModel:
        """Load a stored model, by default its newest version. Raises ConfigError and ModelError."""
        return self._store.load(name, version)

    def file(self, model: CustomModel, path: str | Path, watch: Watch = lambda _seconds: None) -> dict[str, float]:
        """Judge a file: a probability for each label, or ``value``. Raises ConfigError and MediaError.

        ``watch`` is called with the seconds of a recording that are done; it may raise to end the work.
        """
        return self._judge.file(model, Path(path), watch)

    def text(self, model: CustomModel, text: str) -> dict[str, float]:
        """Judge a text, as :meth:`file`."""
        return self._judge.text(model, text)

    def close(self) -> None:
        """Free what judging has loaded."""
        self._judge.close()

    def delete(self, name: str) -> None:
        """Delete a model with all its versions. Raises ConfigError when there is none."""
        self._store.delete(name)


def _path(example: Example) -> Path:
    assert example.path is not None  # only words come without a file
    return example.path


def _sound(path: Path, watch: Watch) -> Vectors:
    blocks, seconds = [], 0.0
    for block in iter_blocks(path):
        watch(block.time)
        blocks.append(block.samples)
        seconds += block.seconds
        if seconds >= MOST_S:
            break
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MediaError(f"{path}: no UTF-8 text: convert it first") from None
    if len(data) > MOST_BYTES:
        raise MediaError(f"{path}: larger than 1 MB: split it")
    if not text.strip():
        raise MediaError(f"{path}: holds no words: leave it out")
    return text
