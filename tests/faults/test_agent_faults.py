"""FAULTS 21, 26 and 29 to 31 on a whole agent, each once; ``scripts/torture`` repeats them for ``docs/faults.md``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import agent_faults

ELSEWHERE = ("child", "reload")
"""Runs that integration tests already make."""


@pytest.mark.parametrize("name", [name for name in agent_faults.RUNS if name not in ELSEWHERE])
def test_the_agent_survives(name: str, tmp_path: Path) -> None:
    if shutil.which("mosquitto") is None:
        pytest.skip("needs the Debian package mosquitto")
    finding = agent_faults.RUNS[name][0](tmp_path, 1)
    assert finding.passed, finding.markdown()
