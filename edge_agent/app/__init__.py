"""The composition root, which knows every stage: ``Agent`` is the daemon, ``analyze`` its offline twin."""

from edge_agent.app.agent import Agent
from edge_agent.app.assembly import Assembly
from edge_agent.app.daemon import ConfigFile, Daemon
from edge_agent.app.recording import Analysis, analyze

__all__ = ["Agent", "Analysis", "Assembly", "ConfigFile", "Daemon", "analyze"]
