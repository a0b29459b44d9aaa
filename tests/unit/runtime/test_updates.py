"""A newer package is known by what apt has fetched, and told by nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import edge_agent
from edge_agent.domain.clock import ManualClock
from edge_agent.runtime.updates import (
    DEADLINE_S,
    INTERVAL_S,
    PackageVersions,
    UpdateCheck,
    from_package,
    parse_policy,
)
from tests.support.apt import AptMachine

Eventually = Callable[..., object]
OLD, NEW = "0.9.0+py3.11", "0.10.0+py3.11"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptMachine:
    machine = AptMachine(tmp_path / "machine", OLD)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    return machine


def answer(eventually: Eventually, check: UpdateCheck) -> PackageVersions | None:
    """What ``check`` tells once its question is answered."""
    news = [check.tick()]

    def answered() -> bool:
        news.append(check.tick())
        return check._asked is None

    eventually(answered)
    return next((told for told in news if told), None)


def asked(eventually: Eventually) -> PackageVersions | None:
    return answer(eventually, UpdateCheck(ManualClock()))


def test_apt_tells_what_its_lists_have(machine: AptMachine, eventually: Eventually) -> None:
    assert from_package()
    assert asked(eventually) == PackageVersions(OLD, None), "nothing was fetched yet"
    machine.offer(OLD)
    machine.update()
    assert asked(eventually) == PackageVersions(OLD, OLD)
    machine.offer(OLD, NEW, "0.9.1+py3.11")
    assert asked(eventually) == PackageVersions(OLD, OLD), "offered, and not fetched"
    machine.update()
    assert asked(eventually) == PackageVersions(OLD, NEW)
    machine.install(NEW)
    assert asked(eventually) == PackageVersions(NEW, NEW)
    machine.install("0.11.0+py3.11")
    assert asked(eventually) == PackageVersions("0.11.0+py3.11", "0.11.0+py3.11"), "apt would not go back"
    machine.forget_lists()
    assert asked(eventually) == PackageVersions("0.11.0+py3.11", None)


def test_only_the_package_that_holds_this_program_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: AptMachine
) -> None:
    """A checkout, or an environment of pip's, on a machine that has the package as well."""
    assert not from_package("another")
    listed = tmp_path / "machine" / "info" / "edge-agent.list"
    listed.write_text(
        "/opt/edge-agent/lib/python3.11/site-packages/edge_agent/__init__.py\n" + edge_agent.__file__ + "x\n"
    )
    assert not from_package()
    listed.write_bytes(b"\xff\n" + edge_agent.__file__.encode() + b"\n")
    assert from_package()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not from_package(), "no apt-cache"
    monkeypatch.delenv("DPKG_ADMINDIR")
    assert not from_package(), "this checkout belongs to no package"


@pytest.mark.parametrize(
    ("installed", "candidate", "table", "versions"),
    [
        ("(none)", "2", ["     2 500", "        500 https://p.example/a ./ Packages"], None),
        ("1", "1", [" *** 1 100", "        100 /var/lib/dpkg/status"], PackageVersions("1", None)),
        (
            "2",
            "1~rc1+py3.11",
            [
                " *** 2 100",
                "        100 /srv/status",
                "     1~rc1+py3.11 1001",
                "       1001 https://p.example/a bookworm/stable amd64 Packages",
            ],
            PackageVersions("2", "1~rc1+py3.11"),
        ),
        ("2", "(none)", ["     3 -1", "         -1 file:/x y"], PackageVersions("2", None)),
    ],
)
def test_answers_of_apt(installed: str, candidate: str, table: list[str], versions: PackageVersions | None) -> None:
    lines = ["edge-agent:", f"  Installed: {installed}", f"  Candidate: {candidate}", "  Version table:", *table, ""]
    assert parse_policy("\n".join(lines)) == versions


@pytest.mark.parametrize("text", ["", "N: Unable to locate package edge-agent\n"])
def test_a_package_that_apt_does_not_know(text: str) -> None:
    assert parse_policy(text) is None


def test_it_asks_every_hour_and_tells_what_is_new(tmp_path: Path, eventually: Eventually) -> None:
    clock, questions, policy = ManualClock(), tmp_path / "questions", tmp_path / "policy"
    check = UpdateCheck(clock, ("sh", "-c", f"printf . >> {questions}; cat {policy}"))
    policy.write_text("edge-agent:\n  Installed: 1\n  Candidate: 1\n")
    assert answer(eventually, check) == PackageVersions("1", None)
    clock.advance(INTERVAL_S - 1)
    assert check.tick() is None
    assert questions.read_text() == "."
    clock.advance(1)
    assert answer(eventually, check) is None, "nothing new"
    policy.unlink()
    clock.advance(INTERVAL_S)
    assert answer(eventually, check) is None, "a failure takes nothing back"
    policy.write_text("edge-agent:\n  Installed: 2\n  Candidate: 2\n")
    clock.advance(INTERVAL_S)
    assert answer(eventually, check) == PackageVersions("2", None)
    assert questions.read_text() == "...."


def test_an_apt_that_hangs_is_ended_and_one_that_is_missing_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    check = UpdateCheck(clock, ("sleep", "1000"))
    check.tick()
    hanging = check._asked
    assert isinstance(hanging, subprocess.Popen)
    clock.advance(DEADLINE_S + 1)
    check.tick()
    assert hanging.returncode == -9
    assert "does not answer" in caplog.text
    missing = UpdateCheck(clock, ("/nowhere/apt-cache",))
    assert missing.tick() is None
    missing.close()
    assert "cannot be started" in caplog.text
