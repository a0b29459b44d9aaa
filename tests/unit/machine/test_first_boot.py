"""The card's first-boot configuration: cloud-init and the agent accept it, and it agrees with the files it repeats."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.settings.loader import load


@pytest.fixture
def user_data(repository: Path) -> Path:
    return repository / "packaging/sd-card/user-data"


@pytest.fixture
def files(user_data: Path) -> dict[str, Any]:
    document = yaml.safe_load(user_data.read_text(encoding="utf-8"))
    return {file["path"]: file for file in document["write_files"]}


def test_the_agent_accepts_its_configuration(files: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r"<([\w.-]+)>", r"\1", files["/etc/edge-agent/config.toml"]["content"]))
    settings = load(config)
    assert (settings.device.id, settings.mqtt.host, settings.mqtt.port) == ("kiosk-1", "broker.example", None)
    assert settings.mqtt.tls.enabled


def test_the_password_is_where_the_unit_looks_and_private(files: dict[str, Any], repository: Path) -> None:
    credential = files["/etc/credstore/edge-agent.mqtt-password"]
    assert credential["permissions"] == "0600"
    assert "edge-agent.mqtt-password" in (repository / "systemd/edge-agent.service").read_text()


def test_unattended_upgrades_take_the_same_origins_as_the_documented_file(
    files: dict[str, Any], repository: Path
) -> None:
    def origins(text: str) -> list[str]:
        return re.findall(r'"(origin=[^"]*)"', text)

    documented = (repository / "packaging/apt/52edge-agent").read_text(encoding="utf-8")
    assert origins(files["/etc/apt/apt.conf.d/52edge-agent"]["content"]) == origins(documented)
    assert "origin=edge-agent,component=stable" in origins(documented)


def test_apt_understands_the_settings_of_unattended_upgrades(repository: Path) -> None:
    if shutil.which("apt-config") is None:
        pytest.skip("needs apt")
    command = ["apt-config", "--config-file", repository / "packaging/apt/52edge-agent", "dump"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in dump


def test_cloud_init_accepts_it(user_data: Path) -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("needs cloud-init (Debian: apt install cloud-init)")
    command = ["cloud-init", "schema", "--config-file", user_data]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
