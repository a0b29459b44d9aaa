"""FAULTS 29 and 31 on a whole agent, each once; ``scripts/torture`` repeats them for ``docs/faults.md``.

Only the runs whose faults no other test injects.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import agent_faults


def once(name: str, folder: Path) -> None:
    if shutil.which("mosquitto") is None:
        pytest.skip("needs the Debian package mosquitto")
    finding = agent_faults.RUNS[name][0](folder, 1)
    assert finding.passed, finding.markdown()


def test_no_pings_while_it_stands_still(tmp_path: Path) -> None:
    """Row 29: SIGSTOP to a running agent: watchdog pings stop at once; SIGCONT: they go on."""
    once("stopped", tmp_path)


def test_watchdog_pings_without_processor_time(tmp_path: Path) -> None:
    """Row 31: one core for a running agent and eight busy loops: watchdog pings and then summaries go on."""
    once("starved", tmp_path)


def test_not_one_descriptor_left(tmp_path: Path) -> None:
    """Row 31: no file or socket can be opened while the broker starts anew: watchdog pings go on, and summaries come
    again when descriptors do.
    """
    once("descriptors", tmp_path)
