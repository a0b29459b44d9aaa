"""What the process uses, from this machine's /proc and from folders that hold less or nonsense."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.capture.cameras import list_cameras
from edge_agent.domain.clock import ManualClock
from edge_agent.runtime.machine import machine_probe, process_use


def test_this_process() -> None:
    use = process_use()
    assert use.rss_mb is not None
    assert 5 < use.rss_mb < 10_000
    assert use.cpu_s > 0
    assert use.descriptors is not None
    assert 2 < use.descriptors <= use.descriptor_limit
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert process_use().descriptors == use.descriptors + 1
    finally:
        os.close(descriptor)


def test_the_hottest_zone_counts_and_broken_ones_do_not(tmp_path: Path) -> None:
    for zone, text in (("thermal_zone0", "41500\n"), ("thermal_zone1", "63250\n"), ("thermal_zone2", "n/a")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(text)
    assert process_use(thermal=tmp_path).temperature_c == pytest.approx(63.25)


def test_what_children_use_counts() -> None:
    """An analyzer with a process of its own is the agent's, too."""
    before = process_use()
    hoard = "hoard = bytearray(b'x') * 60_000_000; print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", hoard], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    during = process_use()
    child.communicate(b"\n")
    assert before.rss_mb is not None
    assert during.rss_mb is not None
    assert during.rss_mb - before.rss_mb > 55
    assert during.cpu_s > before.cpu_s


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({}, None),
        ({"system.slice/edge-agent.service/memory.max": "max"}, None),
        ({"system.slice/edge-agent.service/memory.max": "200000000", "system.slice/memory.max": "300000000"}, 200),
        ({"system.slice/edge-agent.service/memory.high": "100000000", "system.slice/memory.max": "90000000"}, 90),
    ],
)
def test_the_lowest_memory_limit_of_the_service_counts(
    tmp_path: Path, limits: dict[str, str], limit: float | None
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("9:name=systemd:/\n0::/system.slice/edge-agent.service\n")
    (tmp_path / "groups" / "system.slice" / "edge-agent.service").mkdir(parents=True)
    for name, text in limits.items():
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    found = process_use(tmp_path, tmp_path, tmp_path / "groups").memory_limit_mb
    assert found == (limit or pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6))


@pytest.mark.parametrize("statm", [None, "", "12", "a b c"])
def test_missing_kernel_values_are_none(tmp_path: Path, statm: str | None) -> None:
    (tmp_path / "self").mkdir()
    if statm is not None:
        (tmp_path / "self" / "statm").write_text(statm)
    use = process_use(tmp_path, tmp_path, tmp_path)
    assert (use.rss_mb, use.descriptors, use.temperature_c) == (None, None, None)


@pytest.fixture
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_looked_up_for_want_of_descriptors_is_none(tmp_path: Path, no_descriptors: None) -> None:
    """Row 31: not one descriptor left: the agent measures nothing, and goes on."""
    (tmp_path / "class/thermal/thermal_zone0").mkdir(parents=True)
    (tmp_path / "video0").mkdir()
    use = process_use(thermal=tmp_path / "class/thermal")
    load = machine_probe(ManualClock(), tmp_path)()
    cameras = list_cameras(tmp_path)
    assert (use.rss_mb, use.descriptors, use.temperature_c) == (None, None, None)
    assert load.celsius is None
    assert cameras == []
