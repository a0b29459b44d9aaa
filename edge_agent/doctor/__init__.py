"""Checks of an installation, each with the command that fixes what it finds.

Pure functions (``judge_…``) turn readings into a :class:`CheckResult`; thin ones (``check_…``, ``read_…``) read the
machine. Nothing on the machine is changed; the only messages sent are the test messages to the broker.
"""

from edge_agent.doctor.examination import BundleError, Examination, documents, examine, write_bundle
from edge_agent.doctor.result import CheckResult, CheckStatus, worst

__all__ = ["BundleError", "CheckResult", "CheckStatus", "Examination", "documents", "examine", "worst", "write_bundle"]
