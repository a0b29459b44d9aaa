"""The contract of analyzers, as checks that a plugin's author can run; our own analyzers pass the same.

With pytest, one line of report for each rule::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(Subject("my_plugin", my_plugin.edge_agent_register_analyzers()[0], context))

A check raises :class:`ContractError` with what is wrong, or passes what the analyzer itself raised. The checks feed odd
pictures and sound and watch what the analyzer does besides answering. They cannot tell whether an answer is right, and
they see only what Python code does: a native library's own threads and files go unnoticed.
"""

from edge_agent.plugin.testing.rules import CHECKS, ContractError, Subject, check_analyzer

__all__ = ["CHECKS", "ContractError", "Subject", "check_analyzer"]
