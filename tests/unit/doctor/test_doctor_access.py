"""Who may touch what."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from edge_agent.doctor.access import (
    Node,
    check_secrets,
    judge_account,
    judge_devices,
    judge_secret,
    judge_state,
    read_nodes,
)
from edge_agent.doctor.result import CheckStatus
from edge_agent.settings import Settings


def test_the_doctor_warns_when_run_as_another_user() -> None:
    result = judge_account("pi", service_user=True)
    assert result.status is CheckStatus.WARN
    assert result.remedy == "sudo -u edge-agent edge-agent doctor"
    assert judge_account("edge-agent", service_user=True).status is CheckStatus.OK
    assert judge_account("pi", service_user=False).status is CheckStatus.OK


def test_barred_nodes_are_named_with_the_groups_that_open_them() -> None:
    nodes = [
        Node(Path("/dev/video0"), "video", False),
        Node(Path("/dev/snd/pcmC1D0c"), "audio", False),
        Node(Path("/dev/media0"), "video", True),
    ]
    result = judge_devices("pi", nodes)
    assert result.status is CheckStatus.FAIL
    assert "/dev/video0" in result.detail
    assert "/dev/media0" not in result.detail
    assert result.remedy.startswith("sudo usermod -aG audio,video pi")


def test_usable_nodes_and_none_at_all_are_fine() -> None:
    assert judge_devices("pi", [Node(Path("/dev/video0"), "video", True)]).status is CheckStatus.OK
    assert "no camera" in judge_devices("pi", []).detail


def test_the_remedy_never_names_the_group_root() -> None:
    """On Debian 13 /dev/dma_heap/system and, before udev has seen it, any node belong to root."""
    heap, camera = Node(Path("/dev/dma_heap/system"), "root", False), Node(Path("/dev/video0"), "video", False)
    for nodes in ([heap], [heap, camera], [Node(Path("/dev/video0"), "0", False)]):
        result = judge_devices("edge-agent", nodes)
        assert result.status is CheckStatus.FAIL
        assert "root" not in result.remedy
        assert "aG 0" not in result.remedy
        assert ("usermod -aG video" in result.remedy) == (camera in nodes)


def test_the_heap_matters_only_with_picamera2(tmp_path: Path) -> None:
    (tmp_path / "dma_heap").mkdir()
    (tmp_path / "dma_heap/system").touch()
    assert not list(read_nodes(tmp_path))
    assert list(read_nodes(tmp_path, picamera=True))


def test_only_cameras_and_sound_inputs_are_looked_at(tmp_path: Path) -> None:
    for name in ("video0", "media1", "snd/pcmC0D0c", "snd/pcmC0D0p", "snd/controlC0", "dma_heap/system", "sda"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list(read_nodes(tmp_path, lambda path: path.name != "video0", picamera=True))
    assert {str(node.path.relative_to(tmp_path)) for node in found} == {
        "video0", "media1", "snd/pcmC0D0c", "snd/controlC0", "dma_heap/system"
    }  # fmt: skip
    assert {node.path.name for node in found if not node.allowed} == {"video0"}
    assert {node.group for node in found} == {grp.getgrgid(os.getegid()).gr_name}


def test_state_directory() -> None:
    state = Path("/var/lib/edge-agent")
    assert judge_state(state, state, True, "pi").status is CheckStatus.OK
    result = judge_state(state, state.parent, False, "pi")
    assert result.status is CheckStatus.FAIL
    assert "to create /var/lib/edge-agent" in result.detail
    assert "install -d" in result.remedy


@pytest.mark.parametrize(
    ("mode", "status"),
    [(0o100640, CheckStatus.OK), (0o100600, CheckStatus.OK), (0o100644, CheckStatus.WARN), (None, CheckStatus.FAIL)],
)
def test_secret_files(mode: int | None, status: CheckStatus) -> None:
    assert judge_secret(Path("/etc/edge-agent/password"), mode).status is status


def test_a_config_file_is_a_secret_only_with_a_password_in_it(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch(0o644)
    assert check_secrets(Settings(mqtt={"password": "correct horse"}), config)[0].status is CheckStatus.WARN
    assert check_secrets(Settings(), config) == []


def test_the_password_file_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = Settings(mqtt={"password_file": str(file)})
    assert check_secrets(settings, None)[0].status is CheckStatus.FAIL
    file.touch(0o600)
    assert check_secrets(settings, None)[0].status is CheckStatus.OK


def test_a_password_from_the_environment_does_not_blame_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.touch(0o644)
    monkeypatch.setenv("EDGE_AGENT__MQTT__PASSWORD", "correct horse")
    assert check_secrets(Settings(), config) == []
