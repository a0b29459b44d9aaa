"""An analyzer in a process of its own, so that what kills it does not kill the agent.

:func:`isolate` turns a spec into one whose analyzers are stand-ins: each hands pictures and sound through shared memory
to a child that runs the real analyzer, and gives back what the child answers. A child that dies, hangs or raises is
replaced within a budget. It is a wall against faults, not against malice: the child runs as the same user.
"""

from edge_agent.plugin.isolation.host import ChildLimits, IsolatedAnalyzer, isolate

__all__ = ["ChildLimits", "IsolatedAnalyzer", "isolate"]
