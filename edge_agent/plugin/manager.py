"""Discover, load and configure plugins, and keep a named status for each plugin and analyzer.

An entry point is loaded only when the allow-list names it. A failure of one plugin ends in its status and a line of
explanation and never reaches the caller. The manager does not run analyzers: it returns :class:`ActiveAnalyzer` guards,
which turn the first failure into status ``crashed``.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_agent.domain.errors import PluginError, reason, where
from edge_agent.plugin import spec as hookspecs
from edge_agent.plugin.origins import Origins, installation_stamp, installed, not_installed
from edge_agent.plugin.spec import (
    Analyzer,
    AnalyzerContext,
    AnalyzerSettings,
    AnalyzerSpec,
    Kind,
    SinkSettings,
    SinkSpec,
    SourceSettings,
    SourceSpec,
    check_spec,
    isolation_of,
)

if TYPE_CHECKING:
    from edge_agent.domain.event import Event
    from edge_agent.domain.summary import Summary
    from edge_agent.plugin.running import ActiveAnalyzer

log = logging.getLogger(__name__)

T = TypeVar("T")
Describe = Callable[[ErrorDetails, type[BaseModel], tuple[str, ...]], str]
"""Formats a validation error of a settings model, at a place in the config, as one line."""

_NOTIFICATIONS = ("edge_agent_on_event", "edge_agent_on_summary")


class Status(Enum):
    """Status of a plugin or analyzer."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    LOAD_ERROR = "load-error"
    CONFIG_ERROR = "config-error"
    SELF_CHECK_FAILED = "self-check-failed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """One line of ``edge-agent plugins list``. ``plugin`` is the entry point, ``name`` what it registered.

    ``replaced``: how often its process failed and was replaced, for an analyzer that has one of its own. ``where``:
    file and line of the plugin's code that raised, when one did.
    """

    name: str
    plugin: str
    kind: str
    status: Status
    detail: str = ""
    distribution: str = ""
    replaced: int = 0
    where: str = ""

    @property
    def told(self) -> str:
        """Return ``detail``, with file and line where known."""
        return f"{self.detail} ({self.where})" if self.where else self.detail


class PluginManager:
    """Plugins of this installation that the allow-list admits.

    ``tables`` are the raw ``[analyzers.*]`` tables; ``describe`` formats their validation errors. ``recorded``: options
    that are not set take the defaults for recordings and stills. ``kinds``: which kinds run, whatever the tables say.
    """

    def __init__(
        self,
        allow: Sequence[str],
        tables: Mapping[str, Mapping[str, Any]],
        describe: Describe,
        *,
        recorded: bool = False,
        only: Mapping[str, Mapping[str, Any]] | None = None,
        kinds: Mapping[Kind, bool] | None = None,
    ) -> None:
        self._recorded = recorded
        self._kinds = kinds or {}
        self._only = only
        self._allow = frozenset(allow)
        self._tables = tables
        self._describe = describe
        self._hooks = pluggy.PluginManager(hookspecs.PROJECT)
        self._hooks.add_hookspecs(hookspecs)
        # By section and name: a plugin, an analyzer and a sink may share a name.
        self._reports: dict[tuple[str, str], PluginReport] = {}
        self._analyzers: dict[str, AnalyzerSpec] = {}
        self._custom: set[str] = set()
        self._homes: dict[str, str] = {}
        self._settings: dict[str, AnalyzerSettings] = {}
        self._plain: dict[str, AnalyzerSettings] = {}
        self._sources: dict[str, SourceSpec] = {}
        self._sinks: dict[str, SinkSpec] = {}

    # ------------------------------------------------------------------ discovery

    def discover(
        self,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
        custom: Iterable[AnalyzerSpec] = (),
    ) -> None:
        """Import the allowed entry points, collect what they register and check the analyzers' settings.

        ``custom``: analyzers of models that were trained on this device. They run only where they are named.
        """
        found, origin = installed(importlib.metadata.entry_points, installation_stamp())
        if entry_points is not None:
            found, origin = tuple(entry_points), Origins()
        names = []
        for name, namesakes in groupby(sorted(found, key=lambda e: (e.name, origin(e))), key=lambda e: e.name):
            names.append(name)
            offers = list(namesakes)
            self._consider(name, offers, " and ".join(origin(e) for e in offers))
        for name in sorted(self._allow.difference(names, "*")):
            self._report("plugin", name, Status.LOAD_ERROR, not_installed(name, names))
        for spec in custom:
            self._custom.add(spec.name)
            self._accept(spec, "custom", "")
        for name in self._tables:
            if name not in self._analyzers and ("plugin", name) not in self._reports:
                self._report("analyzer", name, Status.CONFIG_ERROR, self._unknown_table(name))
        self._keep_one_detector()
        self._spare_idle_readers()
        self._bring_along()

    def _consider(self, name: str, namesakes: Sequence[importlib.metadata.EntryPoint], origin: str) -> None:
        if name not in self._allow and "*" not in self._allow:
            detail = f"not on the allow-list: add {name!r} to plugins.allow"
            self._report("plugin", name, Status.DISABLED, detail, origin=origin)
        elif len(namesakes) > 1:
            # The allow-list is ambiguous here, and a guess might run code that was not allowed.
            detail = f"{origin} both offer a plugin {name!r}: uninstall one of them"
            self._report("plugin", name, Status.LOAD_ERROR, detail, origin=origin)
        else:
            self._load(namesakes[0], origin)

    def _load(self, entry_point: importlib.metadata.EntryPoint, origin: str) -> None:
        name = entry_point.name
        try:
            self._hooks.register(entry_point.load(), name=name)
            self._hooks.check_pending()
            analyzers = self._collect(name, "edge_agent_register_analyzers", AnalyzerSpec, AnalyzerSettings)
            sources = self._collect(name, "edge_agent_register_sources", SourceSpec, SourceSettings)
            sinks = self._collect(name, "edge_agent_register_sinks", SinkSpec, SinkSettings)
            told = [hook for hook in _NOTIFICATIONS if self._implementations(hook, name)]
            if not (analyzers or sources or sinks or told):
                raise PluginError("it registers nothing: are its functions marked with @hookimpl?")
        except BaseException as error:  # importing a plugin's module may raise anything; see reason()
            log.debug("plugin %s did not load", name, exc_info=True)
            if self._hooks.has_plugin(name):
                self._hooks.unregister(name=name)
            self._report("plugin", name, Status.LOAD_ERROR, reason(error), origin=origin, at=where(error))
            return
        for analyzer in analyzers:
            if self._is_free("analyzer", analyzer.name, name, analyzer.kind.value, origin):
                self._homes[analyzer.name] = entry_point.value
                self._accept(analyzer, name, origin)
        for source in sources:
            if self._is_free("source", source.name, name, "source", origin):
                self._sources[source.name] = source
                self._report("source", source.name, Status.ENABLED, source.summary, name, "source", origin)
        for sink in sinks:
            if self._is_free("sink", sink.name, name, "sink", origin):
                self._sinks[sink.name] = sink
                self._report("sink", sink.name, Status.ENABLED, sink.summary, name, "sink", origin)
        if told:
            detail = " and ".join(f"told about {'events' if 'event' in hook else 'summaries'}" for hook in told)
            self._report("hook", name, Status.ENABLED, detail, name, "hook", origin)

    def _collect(self, plugin: str, hook: str, kind: type[T], settings: type[BaseModel]) -> list[T]:
        """Collect what ``plugin`` registers through ``hook``, type-checked."""
        items: list[T] = []
        for implementation in self._implementations(hook, plugin):
            offered: Iterable[object] = implementation.function()  # type: ignore[assignment]
            for item in offered:
                if not isinstance(item, kind):
                    raise TypeError(f"{hook} returned {type(item).__name__}, expected {kind.__name__}")
                check_spec(item, settings)
                items.append(item)
        return items

    def _implementations(self, hook: str, plugin: str | None = None) -> list[pluggy.HookImpl]:
        implementations = getattr(self._hooks.hook, hook).get_hookimpls()
        return [i for i in implementations if plugin in (None, i.plugin_name)]

    def _is_free(self, section: str, name: str, plugin: str, kind: str, origin: str) -> bool:
        taken = self._reports.get((section, name))
        if taken is None:
            return True
        detail = f"{section} name {name!r} is taken by plugin {taken.plugin!r}"
        self._report(section, f"{plugin}:{name}", Status.LOAD_ERROR, detail, plugin, kind, origin)
        return False

    def _accept(self, spec: AnalyzerSpec, plugin: str, origin: str) -> None:
        kind = spec.kind.value
        self._analyzers[spec.name] = spec
        table = dict(self._tables.get(spec.name, {}))
        if self._only is not None:
            chosen = self._only.get(spec.name)
            table = {"enabled": False} if chosen is None else {**table, **chosen, "enabled": True}
        if spec.kind in self._kinds and not (self._kinds[spec.kind] and spec.name in self._custom):
            table["enabled"] = self._kinds[spec.kind]
        try:
            settings = spec.settings.model_validate(table)
            if self._recorded and spec.recorded.keys() - table.keys():
                self._plain[spec.name] = settings
                settings = spec.settings.model_validate({**spec.recorded, **table})
        except ValidationError as error:
            prefix = ("analyzers", spec.name)
            detail = "; ".join(self._describe(e, spec.settings, prefix) for e in error.errors())
            self._report("analyzer", spec.name, Status.CONFIG_ERROR, detail, plugin, kind, origin)
            return
        except BaseException as error:  # noqa: BLE001 - a plugin's validator may raise anything; see reason()
            self._report("analyzer", spec.name, Status.LOAD_ERROR, reason(error), plugin, kind, origin, where(error))
            return
        self._settings[spec.name] = settings
        status = Status.ENABLED if settings.enabled else Status.DISABLED
        detail = spec.summary if settings.enabled else f"analyzers.{spec.name}.enabled = false"
        self._report("analyzer", spec.name, status, detail, plugin, kind, origin)

    def _unknown_table(self, name: str) -> str:
        model = type("Analyzers", (BaseModel,), {"__annotations__": dict.fromkeys(self._analyzers, dict[str, Any])})
        error = ErrorDetails(type="extra_forbidden", loc=(name,), msg="", input=None)
        return self._describe(error, model, ("analyzers",)) + " (no allowed plugin registers it)"

    def _spare_idle_readers(self) -> None:
        """Disable the analyzers of text of a live run in which nothing transcribes speech: they would have no words."""
        chosen = self._recorded or self._only is not None or Kind.TEXT in self._kinds
        if chosen or any(spec.kind is Kind.SPEECH for _, spec in self._enabled()):
            return
        for name, spec in self._enabled():
            if spec.kind is Kind.TEXT:
                self._update(name, Status.DISABLED, "has nothing to read: no analyzer of speech is enabled")

    def _bring_along(self) -> None:
        """Also enable, for recordings and stills, what an enabled analyzer uses unless the config rules it out."""
        for name in {name for _, spec in self._enabled() for name in spec.uses} if self._recorded else ():
            plain = self._settings.get(name)
            if plain is not None and not plain.enabled and "enabled" not in self._tables.get(name, {}):
                self._plain[name], self._settings[name] = plain, plain.model_copy(update={"enabled": True})
                self._update(name, Status.ENABLED, self._analyzers[name].summary)

    def _keep_one_detector(self) -> None:
        detectors = sorted(n for n, s in self._enabled() if s.kind is Kind.DETECTOR)
        for name in detectors[1:]:
            detail = "detector {0!r} is in use: set analyzers.{0}.enabled = false to use this one".format(detectors[0])
            self._update(name, Status.DISABLED, detail)

    def refuse(self, name: str, why: str) -> None:
        """Give an analyzer the status ``config-error``: other options forbid it."""
        self._update(name, Status.CONFIG_ERROR, f"analyzers.{name}.enabled = true: {why}")

    def recognizers(self, *, enabled: bool = True) -> list[str]:
        """Names of the analyzers that recognise people; ``enabled`` False: also those that are off."""
        return [n for n, spec in (self._enabled() if enabled else self._analyzers.items()) if spec.identifies]

    # ------------------------------------------------------------------ use

    def required_models(self) -> list[str]:
        """Return the catalogue names of the models that the enabled analyzers load."""
        return list(dict.fromkeys(model for models in self.models_by_analyzer().values() for model in models))

    def models_by_analyzer(self) -> dict[str, list[str]]:
        """Return the catalogue names of the models of each enabled analyzer."""
        wanted = {}
        for name, spec in self._enabled():
            try:
                wanted[name] = [str(model) for model in spec.models(self._settings[name])]
            except BaseException as error:  # noqa: BLE001 - a plugin's function may raise anything; see reason()
                self._update(name, Status.LOAD_ERROR, reason(error), where(error))
        return wanted

    def forgo(self, model: str) -> bool:
        """Fall back from the options for recordings to some that need no ``model``; return whether that works."""
        wanting = [name for name, models in self.models_by_analyzer().items() if model in models]
        plain = {name: self._plain[name] for name in wanting if name in self._plain}
        kept = [name for name, settings in plain.items() if settings.enabled]
        if len(plain) < len(wanting) or any(model in self._analyzers[name].models(plain[name]) for name in kept):
            return False
        self._settings |= plain
        for name in plain.keys() - set(kept):
            self._update(name, Status.DISABLED, f"its model {model} is not installed: edge-agent models pull {model}")
        return True

    def activate(self, context: AnalyzerContext, *, try_out: bool = False) -> list[ActiveAnalyzer]:
        """Build and self-check every enabled analyzer; failed ones get a status and are left out.

        ``try_out``: also call each once with sample input, for analyzers that are only inspected.
        """
        active = []
        for name, spec in self._enabled():
            if (analyzer := self._build(name, spec, context)) is not None:
                active.append(analyzer)
                if try_out:
                    analyzer.try_out()
        return active

    def _enabled(self) -> list[tuple[str, AnalyzerSpec]]:
        return [(n, s) for n, s in self._analyzers.items() if self._reports["analyzer", n].status is Status.ENABLED]

    def _build(self, name: str, spec: AnalyzerSpec, context: AnalyzerContext) -> ActiveAnalyzer | None:
        # A check of the config builds nothing.
        from edge_agent.plugin.isolation import IsolatedAnalyzer, isolate
        from edge_agent.plugin.running import ActiveAnalyzer, check_shape

        settings = self._settings[name]
        if isolation_of(spec, settings) == "process" and not spec.identifies:  # its templates stay in this process
            spec = isolate(spec, self._homes[name], replaced=lambda: self._count_replaced(name))
        try:
            analyzer = spec.factory(settings, context)
        except BaseException as error:  # a plugin's factory may raise anything; see reason()
            log.debug("analyzer %s could not be made", name, exc_info=True)
            self._update(name, Status.LOAD_ERROR, reason(error), where(error))
            return None
        active = ActiveAnalyzer(spec, analyzer, lambda detail: self._update(name, Status.CRASHED, detail, active.where))
        try:
            if not isinstance(analyzer, IsolatedAnalyzer):  # in a process of its own, it was checked there
                check_shape(spec.kind, analyzer)
            active.self_check()
        except BaseException as error:  # likewise
            log.debug("analyzer %s failed its self-check", name, exc_info=True)
            self._update(name, Status.SELF_CHECK_FAILED, reason(error), where(error))
            active.close()
            return None
        return active

    def make(self, name: str, context: AnalyzerContext) -> Analyzer:
        """Make another analyzer ``name``, with the options of the config. The caller closes it.

        Raises:
            PluginError: no allowed plugin offers it.
        """
        if name not in self._settings:
            raise PluginError(f"analyzer {name!r} is needed: add its plugin to plugins.allow")
        return self._analyzers[name].factory(self._settings[name], context)

    def reports(self) -> list[PluginReport]:
        """Return the status of everything known, sorted by name."""
        return sorted(self._reports.values(), key=lambda r: r.name)

    @property
    def sources(self) -> Mapping[str, SourceSpec]:
        """Registered capture sources by name."""
        return self._sources

    @property
    def sinks(self) -> Mapping[str, SinkSpec]:
        """Registered sinks by name."""
        return self._sinks

    def analyzer_settings(self) -> Mapping[str, AnalyzerSettings]:
        """Return the validated settings of every analyzer that has valid ones."""
        return self._settings

    def on_event(self, event: Event) -> None:
        """Notify plugins of an event."""
        self._notify("edge_agent_on_event", event=event)

    def on_summary(self, summary: Summary) -> None:
        """Notify plugins of a closed window."""
        self._notify("edge_agent_on_summary", summary=summary)

    def _notify(self, hook: str, **value: object) -> None:
        for implementation in self._implementations(hook):
            try:
                implementation.function(**{k: v for k, v in value.items() if k in implementation.argnames})
            except BaseException as error:  # one plugin's hook must not silence the others; see reason()
                detail = f"{hook}: {reason(error)}"
                name = implementation.plugin_name
                log.exception("plugin %s failed in %s and gets no further notifications", name, hook)
                self._hooks.unregister(name=name)
                origin = self._reports["hook", name].distribution
                self._report("hook", name, Status.CRASHED, detail, name, "hook", origin, where(error))

    # ------------------------------------------------------------------ status

    def _update(self, analyzer: str, status: Status, detail: str, at: str = "") -> None:
        self._change(analyzer, status=status, detail=detail, where=at)

    def _count_replaced(self, analyzer: str) -> None:
        self._change(analyzer, replaced=self._reports["analyzer", analyzer].replaced + 1)

    def _change(self, analyzer: str, **changes: Any) -> None:
        self._reports["analyzer", analyzer] = replace(self._reports["analyzer", analyzer], **changes)

    def _report(
        self,
        section: str,
        name: str,
        status: Status,
        detail: str,
        plugin: str = "",
        kind: str = "",
        origin: str = "",
        at: str = "",
    ) -> None:
        plugin = plugin or (name if section == "plugin" else "")
        self._reports[section, name] = PluginReport(name, plugin, kind, status, detail, origin, where=at)
