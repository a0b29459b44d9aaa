"""The support bundle: complete, private, and free of secrets and media; and the examination that fills it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.delivery.service import outbox_folder
from edge_agent.doctor import BundleError, CheckStatus, documents, examine, worst, write_bundle
from edge_agent.domain.text import Redactor
from edge_agent.settings import Settings
from tests.support.outboxes import make_outbox

CANARY = "cAnArY-7431"

CONFIG = f"""
[device]
id = "kiosk-1"
state_dir = "{{state}}"

[camera]
source = "rtsp://viewer:{CANARY}-camera@127.0.0.1:9/stream?token={CANARY}-query"
timeout_s = 1

[microphone]
source = "none"

[plugins]
allow = ["face", "emotion"]

[models]
auto_pull = false

[mqtt]
host = "127.0.0.1"
port = 9
username = "agent"
password = "{CANARY}-mqtt"

[sinks.hook]
token = "{CANARY}-token"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    path.chmod(0o600)
    return path


def members(bundle: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(bundle) as archive:
        for entry in archive:
            assert entry.isfile()
            content = archive.extractfile(entry)
            assert content is not None
            yield entry.name, content.read().decode()


def test_the_bundle_holds_findings_and_no_canary(config: Path, tmp_path: Path) -> None:
    found = examine(config)
    assert worst(found.results) is CheckStatus.FAIL  # nothing listens on port 9
    bundle = tmp_path / "bundle.tar.gz"
    write_bundle(bundle, documents(found.settings, found.results), found.redactor)
    contents = dict(members(bundle))
    assert {Path(name).name for name in contents} == {
        "README.txt", "doctor.json", "versions.json", "config.json", "outbox.json"
    }  # fmt: skip
    assert CANARY not in str(contents)
    assert CANARY not in str(found.results)
    settings = json.loads(contents["edge-agent-support/config.json"])
    assert settings["mqtt"]["host"] == "127.0.0.1"
    assert settings["camera"]["source"] == "rtsp://***@127.0.0.1:9/***"
    checks = {check["name"] for check in json.loads(contents["edge-agent-support/doctor.json"])}
    assert {"config", "camera", "broker connection", "disk", "time", "plugins"} <= checks
    assert "numpy" in json.loads(contents["edge-agent-support/versions.json"])["packages"]


def test_the_bundle_holds_the_figures_of_the_agents_outbox(tmp_path: Path) -> None:
    settings = Settings(device={"state_dir": str(tmp_path)})
    outbox = make_outbox(outbox_folder(settings))
    outbox.count_lost(3, "disk too slow")
    outbox.close()
    assert documents(settings, [])["outbox"]["produced"] == 3


def test_a_config_that_cannot_be_used_still_gives_a_bundle_without_secrets(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[mqtt]\npassword = "{CANARY}"\nprot = 1\n')
    found = examine(config)
    assert found.settings is None
    assert [(r.status, r.name) for r in found.results if r.status is CheckStatus.FAIL] == [(CheckStatus.FAIL, "config")]
    assert "line 3" in str(found.results)
    bundle = tmp_path / "bundle.tar.gz"
    write_bundle(bundle, documents(found.settings, found.results), found.redactor)
    contents = dict(members(bundle))
    assert CANARY not in str(contents)
    assert "edge-agent-support/config.json" not in contents


def test_a_missing_config_file_is_a_finding(tmp_path: Path) -> None:
    found = examine(tmp_path / "missing.toml")
    assert "no such config file" in str(found.results)


def test_a_bad_plugin_table_is_a_config_finding(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[device]\nstate_dir = "{tmp_path}"\n[camera]\nsource = "none"\n[microphone]\nsource = "none"\n'
        "[mqtt]\nenabled = false\n[models]\nauto_pull = false\n[analyzers.face]\nmin_scoer = 0.5\n"
    )
    found = examine(config)
    wrong = [r for r in found.results if r.name == "config"]
    assert [r.status for r in wrong] == [CheckStatus.FAIL]
    assert "did you mean 'min_score'" in wrong[0].detail


def test_devices_are_left_alone_on_request(config: Path) -> None:
    found = examine(config, try_devices=False)
    assert [r.detail for r in found.results if "camera" in r.name] == ["not tried: --no-devices"]


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ('{"privacy": true}', {"camera and microphone": "privacy is on"}),
        ("damaged", {"camera and microphone": "not understood"}),
        ('{"camera": false}', {"camera": "switched off over MQTT", "microphone": "microphone.source = none"}),
        ('{"microphone": false}', {"microphone": "switched off over MQTT"}),
    ],
)
def test_what_was_switched_off_is_not_opened(config: Path, tmp_path: Path, choices: str, says: dict[str, str]) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "choices.json").write_text(choices)
    found = {r.name: r.detail for r in examine(config).results}
    for name, detail in says.items():
        assert detail in found[name]
    if "privacy" in choices or choices == "damaged":
        assert "camera" not in found


def test_by_a_schedule_nothing_is_opened(config: Path) -> None:
    schedule = '[privacy]\nschedule = ["daily 00:00-24:00"]\nwithout_clock = "trust"\n'
    config.write_text(f"{config.read_text()}\n{schedule}")
    found = {r.name: r.detail for r in examine(config).results}
    assert found["camera and microphone"] == "not tried: privacy is on by schedule"
    assert "camera" not in found


def test_the_bundle_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    write_bundle(bundle, {"versions": {}}, Redactor(()))
    assert bundle.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BundleError, match="exists"):
        write_bundle(bundle, {}, Redactor(()))


def test_a_bundle_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(tmp_path / "missing" / "bundle.tar.gz", {}, Redactor(()))
