"""Discovery, loading and the named status of every plugin and analyzer.

An entry point may load only when the allow-list names it. Whatever goes wrong with one plugin ends in its status and a
line of explanation; it never reaches the caller. The manager does not run analyzers: it hands out
:class:`ActiveAnalyzer` guards, which turn the first exception into status ``crashed``.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import pluggy
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.event import Event
from edge_agent.domain.summary import Summary
from edge_agent.plugin import hookspecs
from edge_agent.plugin.spec import Analyzer, AnalyzerContext, AnalyzerSpec, Kind, SinkSpec, SourceSpec

log = logging.getLogger(__name__)

T = TypeVar("T")
Describe = Callable[[ErrorDetails, type[BaseModel], tuple[str, ...]], str]
"""Turns a validation error of the model at a place in the config into one line."""


class Status(Enum):
    """How a plugin or analyzer ended up."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    LOAD_ERROR = "load-error"
    CONFIG_ERROR = "config-error"
    SELF_CHECK_FAILED = "self-check-failed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """One line of ``edge-agent plugins list``. ``plugin`` is the entry point, ``name`` what it registered."""

    name: str
    plugin: str
    kind: str
    status: Status
    detail: str = ""
    distribution: str = ""


class ActiveAnalyzer:
    """An analyzer that runs, guarded: the first exception closes it and marks it crashed."""

    def __init__(self, spec: AnalyzerSpec, analyzer: Analyzer, on_crash: Callable[[str], None]) -> None:
        self.spec = spec
        self._analyzer: Analyzer | None = analyzer
        self._on_crash = on_crash

    @property
    def alive(self) -> bool:
        """False after a crash or close."""
        return self._analyzer is not None

    def call(self, use: Callable[[Any], T], default: T) -> T:
        """``use(analyzer)``, or ``default`` when the analyzer is gone or fails now."""
        if self._analyzer is None:
            return default
        try:
            return use(self._analyzer)
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything; isolating it is this class's job
            log.exception("analyzer %s crashed", self.spec.name)
            self.close()
            self._on_crash(f"{type(error).__name__}: {error}")
            return default

    def close(self) -> None:
        """Close the analyzer once; a failing close is logged only."""
        analyzer, self._analyzer = self._analyzer, None
        if analyzer is None:
            return
        try:
            analyzer.close()
        except Exception:  # noqa: BLE001 - nothing can be done about a stranger's failing close
            log.exception("analyzer %s failed to close", self.spec.name)


class PluginManager:
    """All plugins of this installation, as far as ``allow`` lets them in.

    ``tables`` are the raw ``[analyzers.*]`` tables; ``describe`` words their validation errors.
    """

    def __init__(self, allow: Sequence[str], tables: Mapping[str, Mapping[str, Any]], describe: Describe) -> None:
        self._allow = frozenset(allow)
        self._tables = tables
        self._describe = describe
        self._hooks = pluggy.PluginManager(hookspecs.PROJECT)
        self._hooks.add_hookspecs(hookspecs)
        self._reports: dict[str, PluginReport] = {}
        self._analyzers: dict[str, AnalyzerSpec] = {}
        self._settings: dict[str, BaseModel] = {}
        self._sources: dict[str, SourceSpec] = {}
        self._sinks: dict[str, SinkSpec] = {}

    # ------------------------------------------------------------------ discovery

    def discover(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Import the allowed entry points, collect what they register and check the analyzers' settings."""
        found = importlib.metadata.entry_points(group=hookspecs.PROJECT) if entry_points is None else entry_points
        seen: set[str] = set()
        for entry_point in sorted(found, key=lambda e: e.name):
            if entry_point.name not in seen:
                seen.add(entry_point.name)
                self._load(entry_point)
        for name in self._tables:
            if name not in self._analyzers and name not in self._reports:
                self._report(name, "", "", Status.CONFIG_ERROR, self._unknown_table(name))

    def _unknown_table(self, name: str) -> str:
        model = type("Analyzers", (BaseModel,), {"__annotations__": dict.fromkeys(self._analyzers, dict[str, Any])})
        error = ErrorDetails(type="extra_forbidden", loc=(name,), msg="", input=None)
        return self._describe(error, model, ("analyzers",)) + " (no allowed plugin registers it)"

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        name, dist = entry_point.name, entry_point.dist
        origin = f"{dist.name} {dist.version}" if dist else ""
        if name not in self._allow and "*" not in self._allow:
            detail = f"not on the allow-list: add {name!r} to plugins.allow"
            self._report(name, name, "", Status.DISABLED, detail, origin)
            return
        try:
            module = entry_point.load()
            self._hooks.register(module, name=name)
            self._hooks.check_pending()
            registered = (
                _collect(module, "edge_agent_register_analyzers", AnalyzerSpec),
                _collect(module, "edge_agent_register_sources", SourceSpec),
                _collect(module, "edge_agent_register_sinks", SinkSpec),
            )
        except Exception as error:  # noqa: BLE001 - importing a stranger's module may raise anything
            log.debug("plugin %s did not load", name, exc_info=True)
            if self._hooks.has_plugin(name):
                self._hooks.unregister(name=name)
            self._report(name, name, "", Status.LOAD_ERROR, f"{type(error).__name__}: {error}", origin)
            return
        analyzers, sources, sinks = registered
        for analyzer in analyzers:
            self._accept(analyzer, name, origin)
        for source in sources:
            self._sources[source.name] = source
            self._report(source.name, name, "source", Status.ENABLED, source.summary, origin)
        for sink in sinks:
            self._sinks[sink.name] = sink
            self._report(sink.name, name, "sink", Status.ENABLED, sink.summary, origin)

    def _accept(self, spec: AnalyzerSpec, plugin: str, origin: str) -> None:
        if spec.name in self._analyzers:
            taken = self._reports[spec.name].plugin
            detail = f"analyzer name {spec.name!r} is taken by plugin {taken!r}"
            self._report(f"{plugin}:{spec.name}", plugin, spec.kind.value, Status.LOAD_ERROR, detail, origin)
            return
        self._analyzers[spec.name] = spec
        try:
            settings = spec.settings.model_validate(dict(self._tables.get(spec.name, {})))
        except ValidationError as error:
            prefix = ("analyzers", spec.name)
            detail = "; ".join(self._describe(e, spec.settings, prefix) for e in error.errors())
            self._report(spec.name, plugin, spec.kind.value, Status.CONFIG_ERROR, detail, origin)
            return
        self._settings[spec.name] = settings
        status = Status.ENABLED if settings.enabled else Status.DISABLED
        detail = spec.summary if settings.enabled else f"analyzers.{spec.name}.enabled = false"
        self._report(spec.name, plugin, spec.kind.value, status, detail, origin)

    # ------------------------------------------------------------------ use

    def required_models(self) -> list[str]:
        """Catalogue names that the enabled analyzers would load."""
        names: list[str] = []
        for name, spec in self._enabled():
            names.extend(n for n in spec.models(self._settings[name]) if n not in names)
        return names

    def activate(self, context: AnalyzerContext) -> list[ActiveAnalyzer]:
        """Build and self-check every enabled analyzer; those that fail keep their status and are left out."""
        active = []
        for name, spec in self._enabled():
            if (analyzer := self._build(name, spec, context)) is not None:
                active.append(analyzer)
        return active

    def _enabled(self) -> list[tuple[str, AnalyzerSpec]]:
        return [(n, s) for n, s in self._analyzers.items() if self._reports[n].status is Status.ENABLED]

    def _build(self, name: str, spec: AnalyzerSpec, context: AnalyzerContext) -> ActiveAnalyzer | None:
        try:
            analyzer = spec.factory(self._settings[name], context)
        except Exception as error:  # noqa: BLE001 - a stranger's factory may raise anything
            self._fail(name, Status.LOAD_ERROR, error)
            return None
        active = ActiveAnalyzer(spec, analyzer, lambda detail: self._update(name, Status.CRASHED, detail))
        try:
            analyzer.self_check()
        except Exception as error:  # noqa: BLE001 - likewise
            active.close()
            self._fail(name, Status.SELF_CHECK_FAILED, error)
            return None
        return active

    def reports(self) -> list[PluginReport]:
        """The state of everything known, by name."""
        return sorted(self._reports.values(), key=lambda r: r.name)

    @property
    def sources(self) -> Mapping[str, SourceSpec]:
        """Registered capture backends."""
        return self._sources

    @property
    def sinks(self) -> Mapping[str, SinkSpec]:
        """Registered delivery targets."""
        return self._sinks

    def analyzer_settings(self) -> Mapping[str, BaseModel]:
        """The validated settings of every analyzer that has valid ones."""
        return self._settings

    def detector_name(self) -> str | None:
        """The detector in use: the first enabled one by name."""
        return next((n for n, s in self._enabled() if s.kind is Kind.DETECTOR), None)

    def on_event(self, event: Event) -> None:
        """Tell plugins about an event."""
        self._notify("edge_agent_on_event", event=event)

    def on_summary(self, summary: Summary) -> None:
        """Tell plugins about a closed window."""
        self._notify("edge_agent_on_summary", summary=summary)

    def _notify(self, hook: str, **value: object) -> None:
        for implementation in getattr(self._hooks.hook, hook).get_hookimpls():
            try:
                implementation.function(**{k: v for k, v in value.items() if k in implementation.argnames})
            except Exception as error:  # noqa: BLE001 - one plugin's failing hook must not silence the others
                name = implementation.plugin_name
                log.exception("plugin %s failed in %s; unregistered", name, hook)
                self._hooks.unregister(name=name)
                self._report(name, name, "hook", Status.CRASHED, f"{hook}: {type(error).__name__}: {error}")

    # ------------------------------------------------------------------ status

    def _fail(self, name: str, status: Status, error: Exception) -> None:
        expected = isinstance(error, EdgeAgentError)
        log.debug("analyzer %s: %s", name, status.value, exc_info=True)
        self._update(name, status, str(error) if expected else f"{type(error).__name__}: {error}")

    def _update(self, name: str, status: Status, detail: str) -> None:
        old = self._reports[name]
        self._report(name, old.plugin, old.kind, status, detail, old.distribution)

    def _report(self, name: str, plugin: str, kind: str, status: Status, detail: str = "", dist: str = "") -> None:
        self._reports[name] = PluginReport(name, plugin, kind, status, detail, dist)


def _collect(module: object, hook: str, kind: type[T]) -> list[T]:
    """What ``module`` registers through ``hook``, type-checked."""
    function = getattr(module, hook, None)
    if function is None:
        return []
    items = list(function())
    for item in items:
        if not isinstance(item, kind):
            raise TypeError(f"{hook} returned {type(item).__name__}, expected {kind.__name__}")
    return items
