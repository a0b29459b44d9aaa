"""The composition root, which knows every stage: ``Agent`` is the daemon, ``analyze`` its offline twin."""

from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.daemon import ConfigFile, Daemon
from edge_agent.app.offline import Analysis, analyze

__all__ = ["Agent", "Analysis", "ConfigFile", "Daemon", "PipelineBuilder", "analyze"]
