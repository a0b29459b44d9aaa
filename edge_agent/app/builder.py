"""Pipeline builder: plugins, models and lanes made from one config, for the daemon, ``analyze`` and the doctor.

What builds imports what it builds from: a check of the config needs none of it, and takes half as long without.
"""

from __future__ import annotations

import logging
import platform
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from edge_agent import __version__
from edge_agent.domain.errors import ConfigError, ModelError, PluginError
from edge_agent.models import Catalogue, ModelStore, default_dir
from edge_agent.plugin.manager import PluginManager, Status
from edge_agent.plugin.spec import (
    AnalyzerContext,
    AnalyzerSpec,
    AudioSource,
    Kind,
    Sink,
    SinkSpec,
    SourceSpec,
    TextAnalyzer,
    VideoSource,
)
from edge_agent.settings import ConfigText, Settings
from edge_agent.settings.privacy import recognition_refused
from edge_agent.settings.secrets import chosen_options, config_digest

if TYPE_CHECKING:
    from edge_agent.analysis.lanes import VisionLane
    from edge_agent.analysis.pacing import Bounds, Governor
    from edge_agent.analysis.sound import AudioLane, SpeechLane
    from edge_agent.analysis.tracking import Tracker
    from edge_agent.domain.clock import Clock
    from edge_agent.domain.observation import Observation
    from edge_agent.people import Known
    from edge_agent.plugin.running import ActiveAnalyzer, Use

log = logging.getLogger(__name__)

S = TypeVar("S")
M = TypeVar("M", bound=BaseModel)
Pull = Callable[[ModelStore, Sequence[str]], object]
"""Fetches models by name; the command line passes one with a progress bar."""


def pull_quietly(store: ModelStore, names: Sequence[str]) -> None:
    """Fetch without showing progress."""
    store.pull(names)


def custom_folder(settings: Settings) -> Path:
    """Folder of the custom models of this device."""
    return settings.device.state_dir / "custom"


class PipelineBuilder:
    """Discover plugins, fetch the models they lack, and activate their analyzers.

    ``recorded``: for recordings and stills, of which analyzers see more by default than of a live stream. ``only``: the
    analyzers to enable, whatever the config says, and options that outrank its own; None: those of the config.
    ``kinds``: likewise, whether analyzers of a kind run.
    """

    def __init__(
        self,
        config: ConfigText,
        settings: Settings,
        *,
        recorded: bool = False,
        only: Mapping[str, Mapping[str, Any]] | None = None,
        kinds: Mapping[Kind, bool] | None = None,
    ) -> None:
        self.settings = settings
        self._config = config
        self.store = ModelStore(default_dir(settings.models.dir, settings.device.state_dir), Catalogue.load())
        self.plugins = PluginManager(
            settings.plugins.allow, settings.analyzers, config.describe, recorded=recorded, only=only, kinds=kinds
        )
        self.plugins.discover(custom=self._custom())
        if (why := recognition_refused(settings)) is not None:
            for name in self.plugins.recognizers():
                self.plugins.refuse(name, why)
        self.people: Known | None = None
        """The enrolled people; None where nobody is recognised."""
        if self.plugins.recognizers():
            from edge_agent.people import Known, custody_of

            self.people = Known(custody_of(settings))
        self._active: list[ActiveAnalyzer] = []

    def _custom(self) -> Iterable[AnalyzerSpec]:
        folder = custom_folder(self.settings)
        if not folder.is_dir():
            return ()
        from edge_agent.custom.embedding import analyzer_specs
        from edge_agent.custom.store import CustomStore

        return analyzer_specs(CustomStore(folder), self._language)

    def _language(self, context: AnalyzerContext) -> TextAnalyzer:
        made = self.plugins.make("language", context)
        if not isinstance(made, TextAnalyzer):
            raise PluginError("the analyzer 'language' does not read text")
        return made

    def pull_missing(self, pull: Pull = pull_quietly) -> None:
        """Fetch models of the enabled analyzers if ``models.auto_pull`` allows; a failure disables that analyzer."""
        if not self.settings.models.auto_pull:
            return
        for name in self.plugins.required_models():
            try:
                pull(self.store, [name])
            except ModelError as error:
                log.warning("%s", error)

    def require_models(self) -> None:
        """Require the models of every enabled analyzer, except optional ones, without which it only sees less.

        Raises:
            ModelError: one of them is missing or damaged; says how to get it.
        """
        for name in self.plugins.required_models():
            try:
                self.store.locate(name)
            except ModelError as error:
                if not self.plugins.forgo(name):
                    raise
                log.info("less is seen than could be, as by a running agent: %s", error)

    def activate(self, *, try_out: bool = False) -> Sequence[ActiveAnalyzer]:
        """Build and self-check the enabled analyzers; the others keep their status.

        ``try_out``: only for an examination; each analyzer is called once, too, as a lane would.
        """
        if self.people is not None:
            self.people.refresh()
            if self.people.problem:
                log.warning("nobody is recognised: %s", self.people.problem)
        context = AnalyzerContext(self.store, self.settings.models.threads, self.people)
        self._active = self.plugins.activate(context, try_out=try_out)
        for report in self.plugins.reports():
            if report.status.value not in ("enabled", "disabled"):
                log.warning("analyzer %s: %s: %s", report.name, report.status.value, report.told)
        return self._active

    def require(self, kind: Kind) -> None:
        """Require an active analyzer of ``kind``.

        Raises:
            PluginError: there is none; says why.
        """
        if not any(active.spec.kind is kind for active in self._active):
            told = [f"{r.name}: {r.told}" for r in self.plugins.reports() if r.kind == kind.value]
            raise PluginError("\n".join(told) or f"no plugin in plugins.allow has an analyzer of kind {kind.value}")

    def lanes(
        self, bounds: Bounds | None = None, governor: Governor | None = None, tracker: Tracker | None = None
    ) -> tuple[VisionLane, AudioLane]:
        """One vision and one audio lane over the active analyzers. ``bounds`` replaces the configured rates."""
        from edge_agent.analysis.lanes import VisionLane
        from edge_agent.analysis.pacing import Bounds
        from edge_agent.analysis.sound import AudioLane

        pacing = self.settings.pacing
        configured = Bounds.of(pacing.profile, pacing.min_fps, pacing.max_fps)
        return VisionLane(self._active, bounds or configured, tracker, governor), AudioLane(self._active)

    def speech_lane(self, *, tell: bool = False) -> SpeechLane:
        """A speech lane over the active analyzers. ``tell``: its reports hold the words themselves."""
        from edge_agent.analysis.sound import SpeechLane

        return SpeechLane(self._active, tell=tell)

    def read(self, text: str) -> tuple[Observation, ...]:
        """What the active analyzers of text observe in written ``text``."""
        from edge_agent.domain.speech import Utterance

        utterance = Utterance(text)
        found = [a.call(lambda analyzer: analyzer.analyze(utterance), ()) for a in self._active if _reads(a)]
        return tuple(observation for one in found for observation in one)

    @property
    def reads(self) -> bool:
        """Whether an analyzer of text is active."""
        return any(map(_reads, self._active))

    def governor(self, clock: Clock) -> Governor:
        """The load governor of the vision lane, with the configured limits."""
        from edge_agent.analysis.pacing import Governor, LoadLimits
        from edge_agent.runtime.machine import machine_probe

        pacing = self.settings.pacing
        return Governor(machine_probe(clock), LoadLimits(cpu=pacing.max_cpu, celsius=pacing.max_celsius))

    def info(self) -> dict[str, object]:
        """The document of the retained ``info`` topic."""
        from edge_agent.runtime.machine import hardware, system_name

        device, system = self.settings.device, system_name()
        host = {"host": socket.gethostname()} if device.publish_host and socket.gethostname() else {}
        return {
            "version": __version__,
            "name": device.name or device.id,
            **host,
            "hardware": hardware(),
            **({"system": system} if system else {}),
            "python": platform.python_version(),
            "config": config_digest(chosen_options(self.settings)),
            "analyzers": {r.name: r.status.value for r in self.plugins.reports() if r.kind in _KINDS},
            "models": {s.entry.name: s.state.value for s in self.store.status(self.plugins.required_models())},
            "window_s": self.settings.summary.window_s,
            "privacy": privacy_manifest(
                self.settings,
                self.running(),
                frozenset(a.spec.kind for a in self._active),
                identifies=any(a.spec.identifies for a in self._active),
            ),
        }

    def video_plugins(self) -> dict[str, Callable[[Clock], VideoSource]]:
        """Factories of the camera sources of plugins, by name; they raise ConfigError."""
        return {n: partial(self._make_source, n, s.video) for n, s in self.plugins.sources.items() if s.video}

    def audio_plugins(self) -> dict[str, Callable[[Clock], AudioSource]]:
        """Factories of the microphone sources of plugins, by name; they raise ConfigError."""
        return {n: partial(self._make_source, n, s.audio) for n, s in self.plugins.sources.items() if s.audio}

    def _make_source(self, name: str, make: Callable[[Any, Clock], S], clock: Clock) -> S:
        table = self.settings.sources.get(name, {})
        return make(self._validated("sources", name, self.plugins.sources[name].settings, table), clock)

    def sinks(self) -> dict[str, Callable[[], Sink]]:
        """Factories of the sinks whose table says ``enabled``, by name. Raises ConfigError."""
        self._refuse_unknown("sinks", self.settings.sinks, self.plugins.sinks)
        specs = self.plugins.sinks
        checked = {n: self._validated("sinks", n, s.settings, self.settings.sinks.get(n, {})) for n, s in specs.items()}
        return {n: partial(specs[n].factory, settings) for n, settings in checked.items() if settings.enabled}

    def check(self) -> None:
        """Check every plugin's table without building anything.

        Raises:
            ConfigError: one line for everything that is wrong.
        """
        self.plugin_settings()
        self.sinks()

    def plugin_settings(self) -> dict[str, dict[str, BaseModel]]:
        """The options in effect of every analyzer, and of the sources and sinks that the config names.

        Raises:
            ConfigError: one of them cannot be used.
        """
        wrong = [r.detail for r in self.plugins.reports() if r.status is Status.CONFIG_ERROR]
        if wrong:
            raise ConfigError("\n".join(wrong))
        offered: dict[str, Mapping[str, SourceSpec | SinkSpec]] = {
            "sources": self.plugins.sources,
            "sinks": self.plugins.sinks,
        }
        found: dict[str, dict[str, BaseModel]] = {"analyzers": dict(self.plugins.analyzer_settings())}
        for section, specs in offered.items():
            tables: Mapping[str, Mapping[str, object]] = getattr(self.settings, section)
            self._refuse_unknown(section, tables, specs)
            found[section] = {n: self._validated(section, n, specs[n].settings, t) for n, t in tables.items()}
        return found

    def device_tables(self) -> dict[str, type[BaseModel]]:
        """The options of every source and sink that the allowed plugins offer, by the path of its table."""
        sources = {f"sources.{name}": spec.settings for name, spec in self.plugins.sources.items()}
        sinks = {f"sinks.{name}": spec.settings for name, spec in self.plugins.sinks.items()}
        return {**sources, **sinks}

    def _refuse_unknown(self, section: str, tables: Mapping[str, object], known: Mapping[str, object]) -> None:
        for name in sorted(tables.keys() - known.keys()):
            offered = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{section}.{name}: no plugin in plugins.allow offers it; known: {offered}")

    def _validated(self, section: str, name: str, model: type[M], table: Mapping[str, object]) -> M:
        try:
            return model.model_validate(dict(table))
        except ValidationError as error:
            lines = [self._config.describe(e, model, (section, name)) for e in error.errors()]
            raise ConfigError("\n".join(lines)) from None

    def running(self) -> frozenset[str]:
        """Names of the analyzers that were activated."""
        return frozenset(active.spec.name for active in self._active)

    def specs(self) -> tuple[AnalyzerSpec, ...]:
        """Specs of the analyzers that were activated."""
        return tuple(active.spec for active in self._active)

    def timings(self) -> dict[str, tuple[Kind, Use]]:
        """Time each active analyzer used in the last half minute, by name."""
        return {active.spec.name: (active.spec.kind, active.timing.use()) for active in self._active if active.alive}

    @property
    def slowest_check_s(self) -> float:
        """Seconds of the slowest self-check of the active analyzers, a measure of this machine's speed."""
        return max((active.check_s for active in self._active), default=0.0)

    @property
    def expected_s(self) -> float:
        """Seconds that an analyzer may usually take: it may run its model several times, a self-check runs it once."""
        return 4 * self.slowest_check_s

    def close(self) -> None:
        """Close all analyzers."""
        for active in self._active:
            active.close()
        self._active = []


def _reads(active: ActiveAnalyzer) -> bool:
    return active.spec.kind is Kind.TEXT and active.alive


_KINDS = frozenset(kind.value for kind in Kind)


def privacy_manifest(
    settings: Settings,
    analyzers: frozenset[str],
    kinds: frozenset[Kind] = frozenset(),
    *,
    identifies: bool = False,
) -> dict[str, object]:
    """The privacy part of the ``info`` topic: where the device stands, what it uses, what it lets out.

    Made from the settings alone, so that it describes what is in force. ``analyzers`` and ``kinds`` are those that run,
    ``identifies``: one of them recognises people; ``local_sinks`` receive the same messages as the broker.
    """
    privacy = settings.privacy
    manifest: dict[str, object] = {
        "context": privacy.context,
        "camera": settings.camera.source != "none",
        "microphone": settings.microphone.source != "none",
        "min_people": privacy.min_people,
        "schedule": list(privacy.schedule),
        "emotions": "emotion" in analyzers,
        "voice": "voice" in analyzers,
        "speech": Kind.SPEECH in kinds,
        "language": Kind.TEXT in kinds,
        "local_sinks": sorted(name for name, table in settings.sinks.items() if table.get("enabled")),
    }
    if "gaze" in analyzers:
        manifest["gaze"] = True
    if identifies:
        identity = settings.identity
        joined = {"join_emotion": True} if identity.join_emotion else {}
        manifest["identity"] = {"consent": identity.consent, "publish_names": identity.publish_names, **joined}
    if privacy.publish_text and Kind.SPEECH in kinds:
        manifest["publish_text"] = True
    if privacy.override_reason:
        manifest["override_reason"] = privacy.override_reason
    if settings.web.enabled and settings.web.preview:
        manifest["preview"] = True
    if settings.batch.enabled:
        manifest["batch"] = True
    return manifest
