"""The ``edge-agent`` command. One module per command group; errors end in one line and an exit code."""

from edge_agent.cli.main import main

__all__ = ["main"]
