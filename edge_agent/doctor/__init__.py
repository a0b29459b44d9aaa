"""Finding out what is wrong with an installation: one check after the other, each with the command that mends it.

Policy is in pure functions (``judge_…``: readings in, :class:`CheckResult` out), looking at the machine in thin ones
(``check_…``, ``read_…``). Nothing is changed on the machine; the only message sent is the broker's test message.
"""

from edge_agent.doctor.bundle import BundleError, documents, write_bundle
from edge_agent.doctor.examination import Examination, examine
from edge_agent.doctor.result import CheckResult, CheckStatus, worst

__all__ = ["BundleError", "CheckResult", "CheckStatus", "Examination", "documents", "examine", "worst", "write_bundle"]
