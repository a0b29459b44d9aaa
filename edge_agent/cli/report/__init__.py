"""``edge-agent analyze --html``: what was found as one page that needs nothing else, not even a network."""

from edge_agent.cli.report.page import page

__all__ = ["page"]
