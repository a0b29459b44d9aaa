"""Running the installed ``edge-agent`` command as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path


def installed(site: Path, *packages: Path) -> str:
    """PYTHONPATH on which ``packages`` are installed as by ``pip install -e``; their metadata is put into ``site``."""
    for package in packages:
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        lines = [f"{name} = {value}" for name, value in project["entry-points"]["edge_agent"].items()]
        (info / "entry_points.txt").write_text("\n".join(["[edge_agent]", *lines, ""]), encoding="utf-8")
    return os.pathsep.join(map(str, [site, *packages]))


class Cli:
    """Calls the console script of this environment with a clean ``EDGE_AGENT`` environment plus ``environment``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.script = Path(sys.executable).with_name("edge-agent")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_AGENT")}
        self.environment = {**inherited, "COLUMNS": "200", "NO_COLOR": "1", **environment}

    def __call__(self, *arguments: str, timeout: float = 110, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end and capture the output."""
        return subprocess.run(
            [str(self.script), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.environment, **environment},
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start in the background; the caller ends it."""
        return subprocess.Popen(
            [str(self.script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environment, **environment},
        )
