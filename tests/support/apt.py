"""A machine whose apt and dpkg know the packages that a test wants: all in one folder, read by apt itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import edge_agent

STANZA = "Package: edge-agent\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x <x@example.invalid>\n"


class AptMachine:
    """Machine with the Debian package ``edge-agent`` installed, whose files are those of this checkout.

    ``environment`` has apt and dpkg of a program see it; the package lists are empty until :meth:`update`.
    """

    def __init__(self, folder: Path, installed: str) -> None:
        for tool in ("apt-get", "apt-cache", "dpkg"):
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool} (Debian)")
        self._folder = folder
        self._architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("lists/partial", "archives/partial", "info", "repository", "etc"):
            (folder / name).mkdir(parents=True)
        self.install(installed)
        (folder / "info" / "edge-agent.list").write_text(f"/.\n{edge_agent.__file__}\n")
        (folder / "etc" / "sources.list").write_text(f"deb [trusted=yes] copy:{folder}/repository ./\n")
        (folder / "apt.conf").write_text(
            f'Dir::State "{folder}"; Dir::State::status "{folder}/status"; Dir::State::Lists "{folder}/lists";\n'
            f'Dir::Cache "{folder}"; Dir::Etc "{folder}/etc"; APT::Sandbox::User "root";\n'
        )
        self.environment = {"APT_CONFIG": str(folder / "apt.conf"), "DPKG_ADMINDIR": str(folder)}

    def install(self, version: str) -> None:
        """Have dpkg say that ``version`` is installed."""
        status = self._folder / "status"
        later = status.stat().st_mtime + 2 if status.exists() else 1e9  # apt looks at whole seconds
        status.write_text(self._stanza(version) + "Status: install ok installed\nDescription: x\n")
        os.utime(status, (later, later))

    def offer(self, *versions: str) -> None:
        """Put ``versions`` into the repository that the machine's sources name."""
        stanzas = [
            self._stanza(version) + f"Filename: ./{version}.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: x\n"
            for version in versions
        ]
        (self._folder / "repository" / "Packages").write_text("\n".join(stanzas))

    def update(self) -> None:
        """Fetch the package lists, as apt's own timer does."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            ["apt-get", "update", "--error-on=any"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def forget_lists(self) -> None:
        """Remove the package lists, as images do that are to be small."""
        for path in (self._folder / "lists").glob("*_Packages"):
            path.unlink()

    def _stanza(self, version: str) -> str:
        return STANZA.format(version=version, architecture=self._architecture)
