"""Look for a newer Debian package in the package lists that apt has already fetched; nothing here uses the network.

Only for a program that a Debian package installed: elsewhere it is not dpkg's to say what runs.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import edge_agent
from edge_agent.domain.clock import Clock

log = logging.getLogger(__name__)

PACKAGE = "edge-agent"
"""Name of the Debian package."""

INTERVAL_S = 3600.0
"""Between two looks; apt's own timer fetches lists twice a day."""

DEADLINE_S = 120.0
"""apt-cache reads every list anew when root has not kept its index; on a slow card that takes many seconds."""

COMMAND = ("nice", "-n", "19", "apt-cache", "policy", PACKAGE)


@dataclass(frozen=True, slots=True)
class PackageVersions:
    """Version of the installed package, and the one that apt would install; ``latest`` is None while no list has it."""

    installed: str
    latest: str | None


def from_package(package: str = PACKAGE) -> bool:
    """Whether the files of this very program belong to the Debian ``package``, and apt is there to ask."""
    database = Path(os.environ.get("DPKG_ADMINDIR", "/var/lib/dpkg"))  # as dpkg itself has it
    try:
        owned = (database / "info" / f"{package}.list").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return edge_agent.__file__ in owned and shutil.which("apt-cache") is not None


def parse_policy(text: str) -> PackageVersions | None:
    """Parse what ``apt-cache policy`` tells of one package in the C locale; None when it is not installed.

    A version that only dpkg's own status names is no news: the package was installed from a file, and no list has it.
    """
    fields = dict(re.findall(r"^  (Installed|Candidate): (\S+)$", text, re.MULTILINE))
    installed, candidate = fields.get("Installed", "(none)"), fields.get("Candidate", "(none)")
    if installed == "(none)":
        return None
    lists = re.findall(r"^ {6,}-?\d+ (?!/)\S", text, re.MULTILINE)  # dpkg's status is the one plain path
    return PackageVersions(installed, candidate if lists and candidate != "(none)" else None)


class UpdateCheck:
    """Ask apt at the start and every hour, in a process of the lowest priority that nobody waits for."""

    def __init__(self, clock: Clock, command: Sequence[str] = COMMAND) -> None:
        self._clock = clock
        self._command = command
        self._asked: subprocess.Popen[str] | None = None
        self._asked_at = -math.inf
        self._told: PackageVersions | None = None

    def tick(self) -> PackageVersions | None:
        """Ask when it is time, and return the answer when it is there and differs from the last; never waits."""
        now = self._clock.monotonic()
        if self._asked is None:
            if now - self._asked_at >= INTERVAL_S:
                self._asked_at = now
                self._ask()
        elif self._asked.poll() is not None:
            return self._news(self._asked)
        elif now - self._asked_at > DEADLINE_S:
            log.warning("apt-cache does not answer: it is not known whether there is a newer package")
            self.close()
        return None

    def close(self) -> None:
        """End a question that was not answered."""
        if self._asked is not None:
            self._asked.kill()
            self._asked.communicate()
            self._asked = None

    def _ask(self) -> None:
        try:
            self._asked = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            log.warning("apt-cache cannot be started: %s", error)

    def _news(self, answered: subprocess.Popen[str]) -> PackageVersions | None:
        text, _ = answered.communicate()
        self._asked = None
        if answered.returncode != 0:
            log.warning("apt-cache ended with %d: the package lists cannot be read", answered.returncode)
            return None
        versions = parse_policy(text)
        if versions is None or versions == self._told:
            return None
        self._told = versions
        log.info("package %s, newest that apt knows: %s", versions.installed, versions.latest or "none")
        return versions
