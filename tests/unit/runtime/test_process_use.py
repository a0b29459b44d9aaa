"""What the process uses, from this machine's /proc and from folders that hold less or nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.runtime.process import process_use


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


@pytest.mark.parametrize("statm", [None, "", "12", "a b c"])
def test_what_the_kernel_does_not_tell_is_none(tmp_path: Path, statm: str | None) -> None:
    if statm is not None:
        (tmp_path / "statm").write_text(statm)
    use = process_use(tmp_path, tmp_path)
    assert (use.rss_mb, use.descriptors, use.temperature_c) == (None, None, None)
