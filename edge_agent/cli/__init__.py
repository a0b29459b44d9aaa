"""The ``edge-agent`` command. One module per command group; errors end in one line and an exit code."""

import sys

from edge_agent.domain.distribution import foreign_distribution

try:
    from edge_agent.cli.main import main
except ImportError:
    # Another project's package in place of ours (see there) is the one failed import that has an explanation.
    if (problem := foreign_distribution()) is None:
        raise
    sys.exit(f"edge-agent: {problem}")

__all__ = ["main"]
