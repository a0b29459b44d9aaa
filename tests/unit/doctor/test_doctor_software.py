"""The service, plugins and models as results."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.doctor.result import CheckResult, CheckStatus, fail, ok, warn, worst
from edge_agent.doctor.software import (
    UNKNOWN,
    DevicePolicy,
    Service,
    check_models,
    check_plugins,
    judge_context,
    judge_policy,
    judge_service,
    parse_policy,
    parse_service,
)
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin.manager import PluginReport, Status
from edge_agent.settings import PrivacySettings


def test_the_worst_result_counts() -> None:
    good, poor, bad = ok("a", ""), warn("b", ""), fail("c", "")
    assert worst([]) is CheckStatus.OK
    assert worst([good]) is CheckStatus.OK
    assert worst([good, poor]) is CheckStatus.WARN
    assert worst([bad, poor, good]) is CheckStatus.FAIL


@pytest.mark.parametrize(
    ("answer", "service"),
    [
        ("", UNKNOWN),
        ("LoadState=not-found\nActiveState=inactive\nNRestarts=0\nStatusText=\n", None),
        (
            "LoadState=loaded\nActiveState=active\nNRestarts=2\nStatusText=watching as kiosk-1, a=b\n",
            Service("active", 2, "watching as kiosk-1, a=b"),
        ),
        ("LoadState=loaded\nActiveState=failed\n", Service("failed", 0)),
    ],
)
def test_systemds_answer(answer: str, service: Service | None) -> None:
    assert parse_service(answer) == service


MAJORS = {81: "video4linux", 116: "alsa", 239: "media"}
CAMERA, CARD, MEDIA = (Path("/dev/video0"), 81), (Path("/dev/snd/controlC0"), 116), (Path("/dev/media0"), 239)
SHOWN = """\
LoadState=loaded
DevicePolicy=closed
DeviceAllow=char-media rw
DeviceAllow=char-81 rw
DeviceAllow=char-als* rw
"""


def test_the_units_device_policy_is_judged_as_systemd_applies_it() -> None:
    policy = parse_policy(SHOWN)
    assert policy == DevicePolicy("closed", ("char-media", "char-81", "char-als*"))
    assert judge_policy(policy, [CAMERA, CARD, MEDIA], MAJORS).status is CheckStatus.OK
    missing = judge_policy(DevicePolicy("closed", ("char-media",)), [CAMERA, CARD, MEDIA], MAJORS)
    assert missing.status is CheckStatus.FAIL
    assert "/dev/video0, /dev/snd/controlC0" in missing.detail
    assert "DeviceAllow=char-81 rw; DeviceAllow=char-116 rw" in missing.remedy
    assert judge_policy(DevicePolicy("auto", ()), [CAMERA], MAJORS).status is CheckStatus.OK
    assert judge_policy(DevicePolicy("closed", ("/dev/video0",)), [CAMERA], {}).status is CheckStatus.OK
    assert parse_policy("LoadState=not-found\nDevicePolicy=auto\nDeviceAllow=\n") is None


def test_the_shipped_unit_lets_the_service_use_every_kind_of_device(repository: Path) -> None:
    lines = (repository / "systemd" / "edge-agent.service").read_text().splitlines()
    shown = "\n".join(["LoadState=loaded", *(line for line in lines if line.startswith("Device"))])
    policy = parse_policy(shown)
    assert policy is not None
    assert judge_policy(policy, [CAMERA, CARD, MEDIA], MAJORS).status is CheckStatus.OK
    assert judge_policy(policy, [CAMERA, CARD], {}).status is CheckStatus.OK, "subsystems that are not loaded yet"
    assert judge_policy(policy, [(Path("/dev/kmsg"), 1)], {1: "mem"}).status is CheckStatus.FAIL


@pytest.mark.parametrize(
    ("service", "status"),
    [
        (None, CheckStatus.OK),
        (Service("active", 0), CheckStatus.OK),
        (Service("inactive", 0), CheckStatus.OK),
        (Service("active", 3), CheckStatus.WARN),
        (Service("failed", 0), CheckStatus.FAIL),
        (UNKNOWN, CheckStatus.WARN),
    ],
)
def test_service(service: Service | None, status: CheckStatus) -> None:
    assert judge_service(service).status is status


def report(name: str, status: Status, detail: str = "") -> PluginReport:
    return PluginReport(name, name, "face", status, detail)


def test_every_broken_plugin_is_a_failure_of_its_own() -> None:
    found = check_plugins(
        [
            report("face", Status.ENABLED),
            report("lamp", Status.DISABLED),
            report("mood", Status.SELF_CHECK_FAILED, "nan"),
            report("burst", Status.CONFIG_ERROR, "hop_s"),
        ]
    )
    assert [(r.status, r.detail.partition(":")[0]) for r in found] == [
        (CheckStatus.FAIL, "mood"),
        (CheckStatus.FAIL, "burst"),
    ]
    assert "[analyzers.burst]" in found[1].remedy


def test_healthy_plugins_are_named_and_none_at_all_is_a_failure() -> None:
    assert check_plugins([report("face", Status.ENABLED)]) == [ok("plugins", "face passed their self-check")]
    assert check_plugins([report("face", Status.DISABLED)])[0].status is CheckStatus.FAIL


def statuses(folder: Path, *names: str) -> list[CheckResult]:
    return check_models(ModelStore(folder, Catalogue.load()).status(names), auto_pull=False)


def test_a_missing_model_fails_unless_it_will_be_downloaded(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Catalogue.load())
    missing = store.status(["blazeface-short"])
    assert check_models(missing, auto_pull=False)[0].status is CheckStatus.FAIL
    found = check_models(missing, auto_pull=True)[0]
    assert found.status is CheckStatus.WARN
    assert "models pull blazeface-short" in found.remedy


def test_a_damaged_model_fails_even_if_it_could_be_downloaded(tmp_path: Path) -> None:
    (tmp_path / "blazeface-short.tflite").write_bytes(b"TFL3" + b"\0" * 1000)
    found = check_models(ModelStore(tmp_path, Catalogue.load()).status(["blazeface-short"]), auto_pull=True)
    assert found[0].status is CheckStatus.FAIL
    assert "blazeface-short" in found[0].detail


def test_a_right_model_is_named(tmp_path: Path) -> None:
    assert statuses(tmp_path, "emotion") == [ok("models", "emotion: sha256 verified")]


def test_no_model_needed() -> None:
    assert check_models([], auto_pull=True) == [ok("models", "no model is needed")]


@pytest.mark.parametrize(
    ("table", "status", "says"),
    [
        ({}, CheckStatus.WARN, "not declared"),
        ({"context": "home"}, CheckStatus.OK, "home"),
        ({"context": "workplace", "override_reason": "No emotions, people only"}, CheckStatus.WARN, "No emotions"),
    ],
)
def test_where_the_device_stands_should_be_said(table: dict[str, str], status: CheckStatus, says: str) -> None:
    found = judge_context(PrivacySettings.model_validate(table))
    assert found.status is status
    assert says in found.detail
    assert bool(found.remedy) is (status is not CheckStatus.OK)
