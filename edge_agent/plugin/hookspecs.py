"""Hook specifications of entry-point group ``edge_agent``. Three register, two notify; none is called per frame."""

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
