"""What the daemon, ``analyze`` and the self-help commands share: plugins, models and lanes made from one config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from edge_agent import __version__
from edge_agent.analysis.audio import AudioLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.analysis.vision import VisionLane
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import ConfigError, ModelError
from edge_agent.models import Catalogue, ModelStore, default_dir
from edge_agent.plugin.manager import ActiveAnalyzer, PluginManager
from edge_agent.plugin.spec import (
    AnalyzerContext,
    AudioSource,
    Kind,
    Sink,
    SinkSettings,
    SinkSpec,
    VideoSource,
)
from edge_agent.settings import ConfigText, Settings

log = logging.getLogger(__name__)

S = TypeVar("S")
Pull = Callable[[ModelStore, Sequence[str]], object]
"""Fetches models by name; the command line's shows a progress bar."""


def pull_quietly(store: ModelStore, names: Sequence[str]) -> None:
    """Fetch without showing progress."""
    store.pull(names)


class Assembly:
    """Discovers plugins, fetches the models they lack, and activates their analyzers."""

    def __init__(self, config: ConfigText, settings: Settings) -> None:
        self.settings = settings
        self._config = config
        self.store = ModelStore(default_dir(settings.models.dir, settings.device.state_dir), Catalogue.load())
        self.plugins = PluginManager(settings.plugins.allow, settings.analyzers, config.describe)
        self.plugins.discover()
        self._active: list[ActiveAnalyzer] = []

    def pull_missing(self, pull: Pull = pull_quietly) -> None:
        """Fetch what the enabled analyzers need and ``models.auto_pull`` allows; a failure costs only that analyzer."""
        if not self.settings.models.auto_pull:
            return
        for name in self.plugins.required_models():
            try:
                pull(self.store, [name])
            except ModelError as error:
                log.warning("%s", error)

    def activate(self) -> Sequence[ActiveAnalyzer]:
        """Build and self-check the enabled analyzers; the others keep their status."""
        context = AnalyzerContext(self.store, self.settings.models.threads)
        self._active = self.plugins.activate(context)
        for report in self.plugins.reports():
            if report.status.value not in ("enabled", "disabled"):
                log.warning("analyzer %s: %s: %s", report.name, report.status.value, report.detail)
        return self._active

    def lanes(self, bounds: Bounds | None = None) -> tuple[VisionLane, AudioLane]:
        """One vision and one audio lane over the active analyzers. ``bounds`` replaces the configured rates."""
        pacing = self.settings.pacing
        configured = Bounds.of(pacing.profile, pacing.min_fps, pacing.max_fps)
        return VisionLane(self._active, bounds or configured), AudioLane(self._active)

    def info(self) -> dict[str, object]:
        """What the retained ``info`` topic tells about this installation."""
        return {
            "version": __version__,
            "name": self.settings.device.name or self.settings.device.id,
            "analyzers": {r.name: r.status.value for r in self.plugins.reports() if r.kind in _KINDS},
            "models": {s.entry.name: s.state.value for s in self.store.status(self.plugins.required_models())},
            "window_s": self.settings.summary.window_s,
        }

    def video_plugins(self) -> dict[str, Callable[[Clock], VideoSource]]:
        """Camera backends of plugins, their settings already checked when they are made."""
        return {n: partial(self._make_source, n, s.video) for n, s in self.plugins.sources.items() if s.video}

    def audio_plugins(self) -> dict[str, Callable[[Clock], AudioSource]]:
        """Microphone backends of plugins."""
        return {n: partial(self._make_source, n, s.audio) for n, s in self.plugins.sources.items() if s.audio}

    def _make_source(self, name: str, make: Callable[[Any, Clock], S], clock: Clock) -> S:
        spec, table = self.plugins.sources[name], self.settings.sources.get(name, {})
        try:
            return make(spec.settings.model_validate(table), clock)
        except ValidationError as error:
            prefix = ("sources", name)
            raise ConfigError(
                "\n".join(self._config.describe(e, spec.settings, prefix) for e in error.errors())
            ) from error

    def sinks(self) -> dict[str, Callable[[], Sink]]:
        """What makes the sinks whose table says ``enabled``. Raises ConfigError."""
        unknown = sorted(self.settings.sinks.keys() - self.plugins.sinks.keys())
        if unknown:
            known = ", ".join(sorted(self.plugins.sinks)) or "none"
            raise ConfigError(f"sinks.{unknown[0]}: no plugin in plugins.allow offers such a sink; known: {known}")
        checked = {name: self._sink_settings(name, spec) for name, spec in self.plugins.sinks.items()}
        return {n: partial(self.plugins.sinks[n].factory, s) for n, s in checked.items() if s.enabled}

    def _sink_settings(self, name: str, spec: SinkSpec) -> SinkSettings:
        try:
            return spec.settings.model_validate(self.settings.sinks.get(name, {}))
        except ValidationError as error:
            prefix = ("sinks", name)
            raise ConfigError(
                "\n".join(self._config.describe(e, spec.settings, prefix) for e in error.errors())
            ) from error

    def running(self) -> frozenset[str]:
        """Names of the analyzers that were activated."""
        return frozenset(active.spec.name for active in self._active)

    def close(self) -> None:
        """Close all analyzers."""
        for active in self._active:
            active.close()
        self._active = []


_KINDS = frozenset(kind.value for kind in Kind)
