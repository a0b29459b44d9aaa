"""Hooks of plugins, the specs they register for analyzers, sources and sinks, and the interfaces of what those make.

A spec is cheap to make; the factory does the heavy imports. An analyzer is called from one thread only, never sleeps,
never starts threads and never touches the network. An exception marks it ``crashed``; the agent continues without it.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import pluggy
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.domain.errors import PluginError
from edge_agent.domain.observation import Measure, Statistic

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_agent.domain.clock import Clock
    from edge_agent.domain.event import Event, Message
    from edge_agent.domain.face import Face, TrackedFace
    from edge_agent.domain.media import AudioBlock, Frame
    from edge_agent.domain.observation import Observation
    from edge_agent.domain.speech import Utterance
    from edge_agent.domain.summary import Summary


class Kind(Enum):
    """Input and output of an analyzer."""

    DETECTOR = "detector"
    """Frame to faces; one detector is active at a time."""
    FACE = "face"
    """Frame and tracked faces to observations about those faces, and events."""
    SCENE = "scene"
    """Frame to observations about the whole picture, and events."""
    AUDIO = "audio"
    """Sound to observations and events."""
    SPEECH = "speech"
    """Sound to utterances."""
    TEXT = "text"
    """Utterance to observations about what it expresses."""


WORDED = frozenset({Kind.SPEECH, Kind.TEXT})
"""Kinds that handle what people say: the messages of their exceptions are neither logged nor published."""


Isolation = Literal["none", "process"]
"""Where an analyzer runs: in the agent's process, or in one of its own."""


class AnalyzerSettings(BaseModel):
    """Base of every analyzer's settings: the table ``[analyzers.<name>]`` of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Whether this analyzer runs.")
    isolation: Isolation | None = Field(
        default=None,
        description="process: it runs in a process of its own, whose crash or hang does not end the agent; none: in "
        "the agent. Default: as the plugin asks for.",
    )


class ModelLocator(Protocol):
    """Finder of installed models by their catalogue name."""

    def locate(self, name: str) -> Path:
        """Return the path of a model file whose sha256 was checked.

        Raises:
            ModelError: unknown, not installed (the text says how to get it) or not the file it should be.
        """
        ...


class Gallery(Protocol):
    """The enrolled people, as an analyzer that recognises them reads them. May change between two calls."""

    @property
    def version(self) -> int:
        """Number that changes with every enrolment and removal."""
        ...

    def templates(self, network: str) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the template of each person, a vector of length 1 by the person's key, made by ``network``.

        Keep no copy: a template is overwritten when the person is forgotten.
        """
        ...


@dataclass(frozen=True, slots=True)
class AnalyzerContext:
    """Resources of an analyzer: model locator, and the number of ``threads`` an interpreter may use.

    ``people``: the enrolled people; None where nobody may be recognised.
    """

    models: ModelLocator
    threads: int = 1
    people: Gallery | None = None


class Analyzer:
    """Common base of all kinds; inherit from the class of the kind."""

    def self_check(self) -> None:
        """Check that the analyzer works, e.g. on a blank frame. Raises when it does not."""

    def forget(self) -> None:
        """Drop what was learned about the people so far, such as the range of a voice: privacy begins, or a pause.

        Called between two calls, when the microphone is switched off. Default: nothing is dropped.
        """

    def close(self) -> None:
        """Release resources; called once, also after a crash."""


class FaceDetector(Analyzer, ABC):
    """Base class of kind ``detector``."""

    @abstractmethod
    def detect(self, frame: Frame) -> Sequence[Face]:
        """Detect the faces in the frame, most certain first."""


class FaceAnalyzer(Analyzer, ABC):
    """Base class of kind ``face``."""

    @abstractmethod
    def analyze(self, frame: Frame, faces: Sequence[TrackedFace]) -> Sequence[Observation | Event]:
        """Observe those of ``faces`` that can be judged: observations with the face's track; events, published at once,
        without one."""


class UnfitFaceError(PluginError):
    """A face cannot be embedded; the text says why, to the person it belongs to."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A face as a vector of length 1, float32 [n]; only vectors of the same ``network`` can be compared."""

    network: str
    vector: npt.NDArray[np.float32]


JUDGED_WITHIN_S = 2.0
"""Seconds after a track's begin in which a :class:`FaceRecognizer` may say that it has reappeared."""


class FaceRecognizer(FaceAnalyzer, ABC):
    """Base class of a face analyzer that tells people apart.

    Its observations are named :data:`~edge_agent.domain.observation.IDENTITY` and
    :data:`~edge_agent.domain.observation.REAPPEARED`. It is also called when nobody is in view, so that it can drop
    what it remembers in time.
    """

    recollects_s: float = 0.0
    """Seconds after which it may still report that a track has reappeared; departures are told so much later."""

    alike: float
    """Cosine similarity from which two embeddings are taken for the same person."""

    @abstractmethod
    def embed(self, frame: Frame, face: Face) -> Embedding:
        """Embed one face, for enrolment.

        Raises:
            UnfitFaceError: it is too small, turned away or cut off.
        """


class SceneAnalyzer(Analyzer, ABC):
    """Base class of kind ``scene``."""

    @abstractmethod
    def analyze(self, frame: Frame) -> Sequence[Observation | Event]:
        """Observe the picture: observations about it, and events, which are published at once."""


class AudioAnalyzer(Analyzer, ABC):
    """Base class of kind ``audio``. Gets every block in order, of any length, and keeps the context it needs."""

    @abstractmethod
    def analyze(self, block: AudioBlock) -> Sequence[Observation | Event]:
        """Analyse the next block: what it completes. A block with ``gap > 0`` follows lost sound: drop the context."""

    def finish(self) -> Sequence[Observation | Event]:
        """Report what is still open at the end or a pause of the sound, and drop the context. Default: nothing.

        Further blocks may follow, as after a gap. A second call in a row returns nothing.
        """
        return ()


class SpeechAnalyzer(Analyzer, ABC):
    """Base class of kind ``speech``. Gets every block in order, of any length, and returns what it has recognised."""

    @abstractmethod
    def analyze(self, block: AudioBlock) -> Sequence[Utterance]:
        """Take the next block; return the utterances it completes, in order. A block with ``gap > 0`` follows lost
        sound: complete or drop what was open, and drop the context. An utterance without text is one that there was
        no time to recognise; its seconds count as lost."""

    def finish(self) -> Sequence[Utterance]:
        """Return what is still open at the end or a pause of the sound, and drop the context. Default: nothing.

        Further blocks may follow, as after a gap. A second call in a row returns nothing.
        """
        return ()


class TextAnalyzer(Analyzer, ABC):
    """Base class of kind ``text``. Each utterance is judged by itself: nothing is remembered from one to the next."""

    @abstractmethod
    def analyze(self, utterance: Utterance) -> Sequence[Observation]:
        """Observe what ``utterance`` expresses, at the time ``utterance.start``; never the words themselves."""


@dataclass(frozen=True, slots=True)
class AnalyzerSpec:
    """Description of an analyzer.

    ``name`` is also the configuration table. ``factory(settings, context)`` makes the analyzer and may raise any
    :class:`~edge_agent.domain.errors.EdgeAgentError`. ``models(settings)`` names the catalogue models it would load.
    ``max_fps`` bounds how often a picture analyzer is asked (None: as often as frames are analysed). ``isolation``
    ``process`` asks for a process of its own, for native code that may crash or hang; the operator may overrule it.
    ``recorded`` are options with another default for recordings and stills, where nothing is missed by taking longer.
    ``uses`` (kind ``face``) names analyzers that run before this one where they are enabled; their observations of a
    face come with it, in :attr:`~edge_agent.domain.face.TrackedFace.observed`.
    ``identifies``: it makes a :class:`FaceRecognizer`, which runs only with the operator's statement of consent.
    ``measures`` and ``events`` (labels by kind) are what Home Assistant has entities for; others are published as well.
    """

    name: str
    kind: Kind
    summary: str
    factory: Callable[[Any, AnalyzerContext], Analyzer]
    settings: type[AnalyzerSettings] = AnalyzerSettings
    models: Callable[[Any], Sequence[str]] = lambda _settings: ()
    max_fps: float | None = None
    isolation: Isolation = "none"
    recorded: Mapping[str, object] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    identifies: bool = False
    measures: Sequence[Measure] = ()
    events: Mapping[str, Sequence[str]] = field(default_factory=dict)


def isolation_of(spec: AnalyzerSpec, settings: AnalyzerSettings) -> Isolation:
    """Return where the analyzer runs: the operator's choice, else the plugin's."""
    return settings.isolation or spec.isolation


class VideoSource(Protocol):
    """Interface of a camera, a stream or a recording. One thread calls it; ``close`` may come from another."""

    def open(self) -> None:
        """Acquire the device. Raises DeviceUnavailableError (worth retrying) or MediaError."""
        ...

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end of a recording. Raises MediaError when the device is lost."""
        ...

    def close(self) -> None:
        """Release the device; idempotent, may interrupt ``read``."""
        ...


class AudioSource(Protocol):
    """Interface of a microphone or a recording, with the life cycle of :class:`VideoSource`."""

    def open(self) -> None: ...

    def read(self) -> AudioBlock | None: ...

    def close(self) -> None: ...


class SourceSettings(BaseModel):
    """Base of a source plugin's settings: the table ``[sources.<name>]``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Description of a capture source, chosen with ``camera.source = "plugin:<name>"`` or ``microphone.source``."""

    name: str
    summary: str
    video: Callable[[Any, Clock], VideoSource] | None = None
    audio: Callable[[Any, Clock], AudioSource] | None = None
    settings: type[SourceSettings] = SourceSettings


class Sink(Protocol):
    """Interface of a delivery target besides MQTT. One thread calls it."""

    def write(self, messages: Sequence[Message]) -> None:
        """Store all of ``messages`` durably, in order, or raise: then the same batch is offered again later."""
        ...

    def close(self) -> None: ...


class SinkSettings(BaseModel):
    """Base of a sink's settings: the table ``[sinks.<name>]``; a sink runs only when its table says ``enabled``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=False, description="Whether messages also go to this sink.")


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """Description of a sink."""

    name: str
    summary: str
    factory: Callable[[Any], Sink]
    settings: type[SinkSettings] = SinkSettings


def check_spec(spec: Any, settings: type[BaseModel]) -> None:
    """Check what the type of a spec does not guarantee at run time.

    Raises:
        TypeError: its settings or kind are of the wrong type.
        ValueError: its name cannot be a table of the config file.
    """
    if not isinstance(spec.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", spec.name):
        raise ValueError(f"{spec.name!r} cannot be a name: use lower-case letters, digits and _")
    if not (isinstance(spec.settings, type) and issubclass(spec.settings, settings)):
        raise TypeError(f"the settings of {spec.name!r} are no subclass of {settings.__name__}")
    if isinstance(spec, AnalyzerSpec) and not isinstance(spec.kind, Kind):
        raise TypeError(f"the kind of {spec.name!r} is {spec.kind!r}, expected a member of Kind")
    if isinstance(spec, AnalyzerSpec) and spec.isolation not in get_args(Isolation):
        raise ValueError(f"the isolation of {spec.name!r} is {spec.isolation!r}, expected one of {get_args(Isolation)}")
    if isinstance(spec, AnalyzerSpec):
        _check_declared(spec)


def _check_declared(spec: AnalyzerSpec) -> None:
    """Check the measures and events that ``spec`` declares, from which topics and entities are made."""
    word = re.compile(r"[a-z][a-z0-9_]*")
    for measure in spec.measures:
        if not isinstance(measure, Measure):
            raise TypeError(f"a measure of {spec.name!r} is a {type(measure).__name__}, expected a Measure")
        if measure.key.count(".") != 1 or not all(word.fullmatch(part) for part in measure.key.split(".")):
            raise ValueError(f"measure {measure.key!r} of {spec.name!r}: its key is no <observation>.<term>")
        if measure.statistic not in get_args(Statistic):
            raise ValueError(f"measure {measure.key!r} of {spec.name!r}: statistic must be in {get_args(Statistic)}")
    for kind, labels in spec.events.items():
        if isinstance(labels, str) or not all(word.fullmatch(name) for name in (kind, *labels)):
            raise ValueError(f"event {kind!r} of {spec.name!r}: kind and labels need lower-case letters, digits and _")


PROJECT = "edge_agent"
"""pluggy project name and entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's functions as implementations of the hooks below."""


@hookspec
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Register analyzers."""
    return ()


@hookspec
def edge_agent_register_sources() -> Iterable[SourceSpec]:
    """Register capture sources."""
    return ()


@hookspec
def edge_agent_register_sinks() -> Iterable[SinkSpec]:
    """Register delivery sinks."""
    return ()


@hookspec
def edge_agent_on_event(event: Event) -> None:
    """Receive a detected event, on the summariser's thread; must return quickly."""


@hookspec
def edge_agent_on_summary(summary: Summary) -> None:
    """Receive the summary of a closed window, on the summariser's thread; must return quickly."""


def registered_analyzers(plugin: object) -> list[AnalyzerSpec]:
    """Collect the analyzers that one loaded plugin (a module or an object) registers."""
    hooks = pluggy.PluginManager(PROJECT)
    hooks.add_hookspecs(sys.modules[__name__])
    hooks.register(plugin)
    return [spec for offered in hooks.hook.edge_agent_register_analyzers() for spec in offered]
