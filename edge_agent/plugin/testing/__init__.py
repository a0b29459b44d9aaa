"""Contract suites for analyzers, sinks and sources, as a pytest plugin for a plugin author's tests; ours pass the same.

``pytest_plugins = ["edge_agent.plugin.testing"]`` in ``conftest.py``, or the option ``-p edge_agent.plugin.testing``,
runs a test with the argument ``analyzer_check``, ``sink_check`` or ``source_check`` once for each rule::

    def test_contract(analyzer_check):
        analyzer_check(Subject("my_plugin", my_plugin.edge_agent_register_analyzers()[0]))

``sink_check`` takes a :class:`SinkSubject` and ``source_check`` a :class:`SourceSubject`. Without pytest, call the
functions in :data:`CHECKS`, :data:`SINK_CHECKS` and :data:`SOURCE_CHECKS`. A check raises :class:`ContractError` that
says what is wrong, or passes on what the plugin itself raised. Each has a deadline, also for code that hangs. The
checks cannot tell whether an answer is right, and they see only what Python code does: the threads and files of native
libraries go unnoticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.plugin.testing.analyzers import CHECKS, NO_MODELS, Subject, check_analyzer
from edge_agent.plugin.testing.endpoints import (
    SINK_CHECKS,
    SOURCE_CHECKS,
    SinkSubject,
    SourceSubject,
    check_sink,
    check_source,
)
from edge_agent.plugin.testing.harness import Check, ContractError

if TYPE_CHECKING:
    import pytest

__all__ = [
    "CHECKS",
    "NO_MODELS",
    "SINK_CHECKS",
    "SOURCE_CHECKS",
    "Check",
    "ContractError",
    "SinkSubject",
    "SourceSubject",
    "Subject",
    "check_analyzer",
    "check_sink",
    "check_source",
]

_RULES = {"analyzer_check": CHECKS, "sink_check": SINK_CHECKS, "source_check": SOURCE_CHECKS}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes one of the arguments above once for each rule."""
    for argument in _RULES.keys() & set(metafunc.fixturenames):
        checks = _RULES[argument]
        metafunc.parametrize(argument, checks, ids=[check.__name__.removeprefix("check_") for check in checks])
