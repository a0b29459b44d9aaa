"""Composition root: ``Agent`` and ``Daemon`` run the pipeline live, ``analyze`` runs it over a recording."""

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.daemon import ConfigFile, Daemon
from edge_agent.app.offline import Analysis, analyze

__all__ = ["Agent", "Analysis", "ConfigFile", "Daemon", "PipelineBuilder", "analyze"]
