"""The unit file as systemd itself reads it: valid, hardened, and in step with the program's constants."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.delivery.session import CREDENTIAL
from edge_agent.doctor.access import SERVICE_USER
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, WebSettings
from edge_agent.settings.loader import SYSTEM_FILE

MOST_EXPOSED = 16
"""Tenths of systemd-analyze's exposure level: 1.6."""


class Repeated(dict[str, str]):
    """systemd's keys may come several times; later values are added on a line of their own."""

    def __setitem__(self, key: str, value: str | list[str]) -> None:
        if isinstance(value, list) and key in self and isinstance(self[key], list):
            value = [*self[key], *value]
        super().__setitem__(key, value)  # type: ignore[assignment]


@pytest.fixture
def unit(repository: Path) -> Path:
    return repository / "systemd" / "edge-agent.service"


@pytest.fixture
def service(unit: Path) -> dict[str, list[str]]:
    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False)  # type: ignore[arg-type]
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return {key: value.splitlines() for key, value in parser["Service"].items()}


def systemd(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool} (Debian: apt install systemd)")
    return found


def test_the_service_can_reach_little(unit: Path) -> None:
    command = [systemd("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_can_reach_even_less(unit: Path, tmp_path: Path) -> None:
    collector = unit.with_name("edge-agent-collect.service")
    command = [systemd("systemd-analyze"), "security", "--offline=true", "--threshold=12", "--no-pager"]
    done = subprocess.run([*command, str(collector)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = tmp_path / collector.name
    copy.write_text(collector.read_text().replace("/opt/edge-agent/bin/edge-agent-collect", "/bin/true"))
    command = [systemd("systemd-analyze"), "verify", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_without_protection_would_be_noticed(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    command = [systemd("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    assert subprocess.run([*command, str(bare)], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("drop_in", [None, "encrypted-password", "gpio", "lan-only", "shared-machine"])
def test_systemd_understands_every_line(unit: Path, tmp_path: Path, drop_in: str | None) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/edge-agent/bin/edge-agent", "/bin/true"))
    if drop_in is not None:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        shutil.copy(unit.parent / "examples" / f"{drop_in}.conf", folder)
    command = [systemd("systemd-analyze"), "verify", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_example_is_tested(unit: Path) -> None:
    names = {path.stem for path in (unit.parent / "examples").glob("*.conf")}
    assert names == {"encrypted-password", "gpio", "lan-only", "shared-machine"}


def test_the_unit_agrees_with_the_program(service: dict[str, list[str]]) -> None:
    assert service["ExecStart"] == [f"/opt/edge-agent/bin/edge-agent run --config {SYSTEM_FILE}"]
    assert service["User"] == [SERVICE_USER]
    assert (
        Path("/var/lib", *service["StateDirectory"])
        == Settings.model_fields["device"].get_default(call_default_factory=True).state_dir
    )
    assert [line.partition(":")[0] for line in service["LoadCredential"]] == [CREDENTIAL]
    assert service["RestartPreventExitStatus"] == [str(ConfigError.exit_code)]


def test_a_missing_credential_file_does_not_stop_the_unit(service: dict[str, list[str]]) -> None:
    """systemd.exec(5): only a source that is an absolute path must be there."""
    assert not any("/" in line for line in service["LoadCredential"])


def test_only_cameras_and_sound_cards_are_allowed(service: dict[str, list[str]]) -> None:
    assert service["DevicePolicy"] == ["closed"]
    assert {line.split()[0] for line in service["DeviceAllow"]} == {
        "char-video4linux", "char-81", "char-media", "char-dma_heap", "char-alsa", "char-116"
    }  # fmt: skip


def test_devices_that_are_plugged_in_later_are_allowed(unit: Path) -> None:
    """systemd looks the name of a DeviceAllow=char-NAME up once, at the start: the subsystem must be there by then."""
    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False)  # type: ignore[arg-type]
    parser.read(unit)
    for key in ("wants", "after"):
        named = parser["Unit"][key].split()
        assert {"modprobe@videodev.service", "modprobe@snd.service"} <= set(named), key


def test_pictures_in_memory_stay_there(service: dict[str, list[str]]) -> None:
    assert service["LimitCORE"] == ["1"]
    assert service["MemorySwapMax"] == ["0"]


def test_the_connections_of_the_web_side_fit(service: dict[str, list[str]]) -> None:
    assert int(service["LimitNOFILE"][0]) >= WebSettings(clients=1000, analysis_clients=1000).descriptors


def test_a_child_ended_for_want_of_memory_does_not_end_the_service(service: dict[str, list[str]]) -> None:
    assert service["OOMPolicy"] == ["continue"]


def test_the_user_gets_the_groups_that_own_the_devices(repository: Path, tmp_path: Path) -> None:
    tool = systemd("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    command = [tool, f"--root={tmp_path}", str(repository / "systemd" / "edge-agent.sysusers")]
    subprocess.run(command, check=True, capture_output=True)
    members = {
        line.split(":")[0]: line.split(":")[3].split(",") for line in (tmp_path / "etc/group").read_text().splitlines()
    }
    assert {name for name, users in members.items() if SERVICE_USER in users} == {"video", "audio", "render"}
    assert f"{SERVICE_USER}:" in (tmp_path / "etc/passwd").read_text()


def test_the_folders_are_made_with_private_modes(repository: Path, tmp_path: Path) -> None:
    tool = systemd("systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    subprocess.run([systemd("systemd-sysusers"), f"--root={tmp_path}", str(repository / "systemd/edge-agent.sysusers")],
                   check=True, capture_output=True)  # fmt: skip
    config = tmp_path / "etc/edge-agent/config.toml"
    config.parent.mkdir()
    config.touch(0o644)
    command = [tool, "--create", f"--root={tmp_path}", str(repository / "systemd" / "edge-agent.tmpfiles")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("needs root to give files to another user")
    assert done.returncode == 0, done.stderr
    modes = {path: (tmp_path / path).stat().st_mode & 0o777 for path in ("var/lib/edge-agent", "etc/credstore")}
    assert modes == {"var/lib/edge-agent": 0o750, "etc/credstore": 0o700}
    assert config.stat().st_mode & 0o777 == 0o640
