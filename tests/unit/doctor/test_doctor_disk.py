"""Room and wear of the disk below the state directory."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor.host import Medium, Space, check_space, judge_space, judge_wear, read_medium
from edge_agent.doctor.result import CheckStatus
from edge_agent.settings import Settings

MB = 1_000_000
OWN = 170e6


def space(free_mb: float, *, outbox_mb: float = 0, writable: bool = True) -> Space:
    return Space(Path("/var/lib/edge-agent"), int(free_mb * MB), 1000 * MB, writable, int(outbox_mb * MB))


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (space(500), CheckStatus.OK),
        (space(100), CheckStatus.WARN),
        (space(50), CheckStatus.FAIL),
        (space(70, outbox_mb=64), CheckStatus.OK),
        (space(10, outbox_mb=64), CheckStatus.WARN),
        (space(500, writable=False), CheckStatus.FAIL),
    ],
)
def test_space_is_judged_against_what_the_outbox_may_still_take(found: Space, status: CheckStatus) -> None:
    assert judge_space(found, 64).status is status


def test_space_is_looked_up_at_the_closest_folder_that_is_there(tmp_path: Path) -> None:
    settings = Settings(device={"state_dir": str(tmp_path / "not" / "yet")})
    result = check_space(settings)
    assert result.detail.endswith(f"at {tmp_path}")


def test_what_the_outbox_has_taken_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = shutil.disk_usage(tmp_path)._replace(free=100 * MB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: small)
    settings = Settings(device={"state_dir": str(tmp_path)}, outbox={"max_mb": 200})
    assert check_space(settings).status is CheckStatus.FAIL
    outbox_folder(settings).mkdir()
    with (outbox_folder(settings) / "outbox.db").open("wb") as file:
        file.truncate(180 * MB)
    assert check_space(settings).status is CheckStatus.OK


def test_a_failing_file_system_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "disk_usage", fail)
    result = check_space(Settings(device={"state_dir": str(tmp_path)}))
    assert result.status is CheckStatus.FAIL
    assert os.strerror(errno.EIO) in result.detail


def medium(written: float, *, kind: str = "SD", life: int | None = None, up: float = 86_400.0) -> Medium:
    return Medium("mmcblk0", kind, 32_000 * MB, int(written), up, life)


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (medium(200e6), CheckStatus.OK, "more than 30 years"),
        (medium(20e9), CheckStatus.WARN, "1.5 years"),
        (medium(20e9, kind="disk"), CheckStatus.OK, "20,000 MB a day"),
        (medium(0, kind="MMC", life=0x01), CheckStatus.OK, "MMC"),
        (medium(0, kind="MMC", life=0x0A), CheckStatus.WARN, "90 %"),
        (medium(0, kind="MMC", life=0x0B), CheckStatus.FAIL, "100 %"),
        (None, CheckStatus.OK, "no disk of its own"),
    ],
)
def test_wear(found: Medium | None, status: CheckStatus, says: str) -> None:
    result = judge_wear(found, OWN)
    assert result.status is status
    assert says in result.detail


def test_a_minute_after_the_start_the_boot_is_not_taken_for_a_day() -> None:
    assert judge_wear(medium(100e6, up=60.0), OWN).status is CheckStatus.OK


def test_the_disk_of_a_partition_is_found_through_sysfs(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    disk = tmp_path / "sys/block/mmcblk0"
    partition = disk / "mmcblk0p2"
    (disk / "device").mkdir(parents=True)
    partition.mkdir()
    (partition / "partition").write_text("2\n")
    (disk / "device/type").write_text("MMC\n")
    (disk / "device/life_time").write_text("0x01 0x03\n")
    (disk / "size").write_text("62500000\n")
    (disk / "stat").write_text("10 0 80 5 20 0 4000 9 0 9 14\n")
    links = tmp_path / "sys/dev/block"
    links.mkdir(parents=True)
    (links / f"{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    (tmp_path / "uptime").write_text("7200.5 100.0\n")
    assert read_medium(tmp_path, tmp_path / "sys", tmp_path) == Medium(
        "mmcblk0", "MMC", 32_000_000_000, 4000 * 512, 7200.5, 3
    )


def test_memory_and_network_file_systems_have_no_disk(tmp_path: Path) -> None:
    assert read_medium(tmp_path, tmp_path, tmp_path) is None
