"""Contract suites for analyzers, sinks and sources, for a plugin author's tests; our own pass the same.

With pytest, one line of report for each rule::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(Subject("my_plugin", my_plugin.edge_agent_register_analyzers()[0], context))

Likewise :data:`SINK_CHECKS` with a :class:`SinkSubject` and :data:`SOURCE_CHECKS` with a :class:`SourceSubject`. A
check raises :class:`ContractError` that says what is wrong, or passes on what the plugin itself raised. Each has a
deadline, also for code that hangs. The checks cannot tell whether an answer is right, and they see only what Python
code does: the threads and files of native libraries go unnoticed.
"""

from edge_agent.plugin.testing.analyzers import CHECKS, Subject, check_analyzer
from edge_agent.plugin.testing.endpoints import (
    SINK_CHECKS,
    SOURCE_CHECKS,
    SinkSubject,
    SourceSubject,
    check_sink,
    check_source,
)
from edge_agent.plugin.testing.harness import ContractError

__all__ = [
    "CHECKS",
    "SINK_CHECKS",
    "SOURCE_CHECKS",
    "ContractError",
    "SinkSubject",
    "SourceSubject",
    "Subject",
    "check_analyzer",
    "check_sink",
    "check_source",
]
