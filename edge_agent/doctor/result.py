"""Results of checks: status, detail and the command that fixes the problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class CheckStatus(Enum):
    """Severity of a result."""

    OK = "ok"
    WARN = "warn"
    """The agent works, with limits or a risk."""
    FAIL = "fail"
    """Something that is configured does not work."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check. ``remedy``: a command or an edit of the config, empty when there is nothing to fix."""

    name: str
    status: CheckStatus
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Convert to JSON-like types."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "remedy": self.remedy}


def ok(name: str, detail: str) -> CheckResult:
    """Make a result of a check that passed."""
    return CheckResult(name, CheckStatus.OK, detail)


def warn(name: str, detail: str, remedy: str = "") -> CheckResult:
    """Make a result that is a warning."""
    return CheckResult(name, CheckStatus.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str = "") -> CheckResult:
    """Make a result of a check that failed."""
    return CheckResult(name, CheckStatus.FAIL, detail, remedy)


def worst(results: Iterable[CheckResult]) -> CheckStatus:
    """Return the worst status among ``results``; OK when there are none."""
    found = {result.status for result in results}
    return next((status for status in (CheckStatus.FAIL, CheckStatus.WARN) if status in found), CheckStatus.OK)
