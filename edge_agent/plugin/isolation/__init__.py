"""Run an analyzer in a child process, so that its crash does not end the agent.

:func:`isolate` turns a spec into one whose analyzers are proxies: each passes pictures, sound and words through shared
memory to a child that runs the real analyzer, and returns the child's answers. A child that dies, hangs or raises is
replaced within a restart budget. It protects against faults, not against malice: the child runs as the same user.
"""

from edge_agent.plugin.isolation.host import ChildLimits, IsolatedAnalyzer, isolate

__all__ = ["ChildLimits", "IsolatedAnalyzer", "isolate"]
