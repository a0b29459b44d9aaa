"""What a check found: a frozen value with the command that mends it. Nothing here looks at the machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class CheckStatus(Enum):
    """How good a finding is."""

    OK = "ok"
    WARN = "warn"
    """The agent works, with less than it could have, or a risk."""
    FAIL = "fail"
    """Something that was configured does not work."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the doctor's findings. ``remedy`` is a command or an edit, empty when there is nothing to mend."""

    name: str
    status: CheckStatus
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "remedy": self.remedy}


def ok(name: str, detail: str) -> CheckResult:
    """A check that found nothing wrong."""
    return CheckResult(name, CheckStatus.OK, detail)


def warn(name: str, detail: str, remedy: str = "") -> CheckResult:
    """A check that found a weakness."""
    return CheckResult(name, CheckStatus.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str = "") -> CheckResult:
    """A check that found something broken."""
    return CheckResult(name, CheckStatus.FAIL, detail, remedy)


def worst(results: Iterable[CheckResult]) -> CheckStatus:
    """The worst status among ``results``; of none: ok."""
    found = {result.status for result in results}
    return next((status for status in (CheckStatus.FAIL, CheckStatus.WARN) if status in found), CheckStatus.OK)
