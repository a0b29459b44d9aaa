"""The hooks of entry-point group ``edge_agent``. The first three register; none is called per frame."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pluggy

from edge_agent.domain.event import Event
from edge_agent.domain.summary import Summary
from edge_agent.plugin.spec import AnalyzerSpec, SinkSpec, SourceSpec

PROJECT = "edge_agent"
"""pluggy project name and entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's functions as implementations of the hooks below."""


@hookspec
def edge_agent_register_analyzers() -> Iterable[AnalyzerSpec]:
    """Analyzers this plugin offers."""
    return ()


@hookspec
def edge_agent_register_sources() -> Iterable[SourceSpec]:
    """Capture backends this plugin offers."""
    return ()


@hookspec
def edge_agent_register_sinks() -> Iterable[SinkSpec]:
    """Delivery targets this plugin offers."""
    return ()


@hookspec
def edge_agent_on_event(event: Event) -> None:
    """An event was detected; called on the summariser's thread, must return quickly."""


@hookspec
def edge_agent_on_summary(summary: Summary) -> None:
    """A window was closed; called on the summariser's thread, must return quickly."""


def registered_analyzers(plugin: object) -> list[AnalyzerSpec]:
    """What one plugin (a module or an object, already loaded) registers."""
    hooks = pluggy.PluginManager(PROJECT)
    hooks.add_hookspecs(sys.modules[__name__])
    hooks.register(plugin)
    return [spec for offered in hooks.hook.edge_agent_register_analyzers() for spec in offered]
