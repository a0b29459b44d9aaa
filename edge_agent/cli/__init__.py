"""Command line ``edge-agent``: one module per command or group of commands."""

import sys

from edge_agent.domain.distribution import foreign_distribution

try:
    from edge_agent.cli.main import main
except ImportError:
    # An import that fails because another project overwrote this package has an explanation.
    if (problem := foreign_distribution()) is None:
        raise
    sys.exit(f"edge-agent: {problem}")

__all__ = ["main"]
