"""The documentation site builds strict and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]* src="(https?:[^"]+)"|<link[^>]* rel="?stylesheet"?[^>]* href="(https?:[^"]+)"'
)


def test_the_site_builds_strict_and_loads_nothing_from_elsewhere(repository: Path, tmp_path: Path) -> None:
    """A broken link or a missing anchor is an error."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    # Whatever would reach for the network finds none.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9", "http_proxy": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    loaded = {match for page in pages for match in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert loaded == set()
    card = tmp_path / "site" / "repository" / "plugins" / "edge_agent_face" / "MODEL_CARD.html"
    assert 'href="repository/plugins/edge_agent_face/MODEL_CARD.html"' in (tmp_path / "site" / "trust.html").read_text()
    assert card.exists()
