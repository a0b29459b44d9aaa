"""What the doctor says of the web side."""

from __future__ import annotations

import importlib.util
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from edge_agent.doctor.access import check_secrets
from edge_agent.doctor.result import CheckResult, CheckStatus
from edge_agent.doctor.software import WEB_PACKAGES, check_web, judge_address, judge_descriptors, judge_needs
from edge_agent.settings import Settings, WebSettings
from tests.support.mosquitto import free_port


def found(state: Path, *, busy: bool = False, **web: Any) -> dict[str, CheckResult]:
    settings = Settings(device={"state_dir": str(state)}, web={"enabled": True, **web})
    return {result.name: result for result in check_web(settings, busy=busy)}


def test_nothing_is_said_of_what_is_off(tmp_path: Path) -> None:
    assert found(tmp_path, enabled=False) == {}


def test_all_is_well_and_nothing_is_made_by_looking(tmp_path: Path) -> None:
    results = found(tmp_path, port=free_port())
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(
        ("web", "web token", "web address"), CheckStatus.OK
    )
    assert str(tmp_path / "web-token") in results["web token"].detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("hard", "warned"), [(None, 0), (1024, 0), (512, 1)])
def test_too_few_open_files_are_told(hard: int | None, warned: int) -> None:
    results = list(judge_descriptors(WebSettings(), hard))
    assert len(results) == warned
    assert all("692 connections need 884" in result.detail for result in results)


def test_what_is_missing_is_named() -> None:
    result = judge_needs(["starlette"])
    assert (result.status, "starlette" in result.detail) == (CheckStatus.FAIL, True)
    assert "edge-emotion-agent[web]" in result.remedy


def test_what_it_needs_is_what_the_extra_brings(repository: Path) -> None:
    extra = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]["web"]
    assert {Requirement(line).name for line in extra} == {name.replace("_", "-") for name in WEB_PACKAGES}
    for name in WEB_PACKAGES:
        assert importlib.util.find_spec(name) is not None


def test_a_token_that_cannot_be_used_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short")
    for file in ("token", "none"):
        result = found(tmp_path, port=free_port(), token_file=str(tmp_path / file))["web token"]
        assert (result.status, str(tmp_path / file) in result.detail) == (CheckStatus.FAIL, True)


def test_a_port_that_is_taken_is_a_failure_unless_the_service_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = found(tmp_path, port=port)["web address"]
        assert (result.status, "in use" in result.detail) == (CheckStatus.FAIL, True)
        assert str(port) in result.remedy
        assert found(tmp_path, port=port, busy=True)["web address"].status is CheckStatus.OK


def test_an_address_for_others_is_a_risk() -> None:
    result = judge_address(WebSettings(enabled=True, host="0.0.0.0", token_file="/x"), "")
    assert (result.status, "encryption" in result.detail) == (CheckStatus.WARN, True)


@pytest.mark.parametrize("where", ["config", "file"])
def test_a_world_readable_token_is_a_warning(tmp_path: Path, where: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o644)
    web = {"token": "0123456789abcdef"} if where == "config" else {"token_file": str(path)}
    (result,) = check_secrets(Settings(web=web), path)
    assert (result.status, "chmod" in result.remedy) == (CheckStatus.WARN, True)
