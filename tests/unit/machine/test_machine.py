"""Pure parts of the machine test: QEMU's command line, results, order and declarations of checks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.delivery.outbox.records import Counters, OutboxStats
from tests.machine import image, power, report, runner
from tests.machine.checks import CHECKS, Check
from tests.machine.emulator import Boot, Target, accelerator, command, patience
from tests.machine.report import Result

OVERLAY = Path("/images/vm.qcow2")


def line(target: Target, boot: Boot, accel: str = "tcg") -> str:
    return " ".join(command(target, boot, OVERLAY, 2222, accel))


def test_a_cable_that_can_be_pulled_is_not_the_one_of_ssh() -> None:
    text = line(Target(), Boot())
    assert "user,id=console,net=10.0.9.0/24,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22" in text
    assert "user,id=cable,net=10.0.2.0/24,restrict=off" in text
    assert "restrict=on" in line(Target(), Boot(online=False)).split("id=cable")[1]


@pytest.mark.parametrize(
    ("boot", "words"),
    [
        (Boot(memory=512), "-m 512"),
        (Boot(cache="none"), "cache=none"),
        (Boot(clock="2019-01-01T00:00:00"), "-rtc base=2019-01-01T00:00:00"),
        (Boot(append="modprobe.blacklist=snd"), "mitigations=off modprobe.blacklist=snd"),
    ],
)
def test_what_a_check_asks_for_reaches_qemu(boot: Boot, words: str) -> None:
    assert words in line(Target(), boot)


def test_another_architecture_has_its_own_machine_console_and_processor() -> None:
    text = line(Target("trixie", "arm64"), Boot())
    assert "qemu-system-aarch64 -M virt,accel=tcg -cpu cortex-a72" in text
    assert "console=ttyAMA0" in text
    assert "intel-hda" not in text


def test_kvm_is_used_only_where_it_runs_stock_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert accelerator("arm64", "aarch64", tmp_path) == "kvm"
    assert accelerator("amd64", "x86_64", tmp_path) == "tcg"
    (tmp_path / "kvm_pvm").mkdir()
    assert accelerator("amd64", "x86_64", tmp_path) == "tcg"
    (tmp_path / "kvm_amd").mkdir()
    assert accelerator("amd64", "x86_64", tmp_path) == "kvm"
    assert accelerator("arm64", "x86_64", tmp_path) == "tcg"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert accelerator("amd64", "x86_64", tmp_path) == "tcg"


def test_on_a_loaded_host_checks_wait_longer_but_not_for_ever() -> None:
    assert patience(100.0, load=0.5) == 100.0
    assert 100.0 < patience(100.0, load=2.5 * (os.cpu_count() or 1)) < 400.0
    assert patience(100.0, load=1e6) == 400.0


def test_results_survive_junit(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bookworm-amd64.xml"
    first = Result("a", "passed", "2 people | <3> \x1b[1m", 3.5, "2026-11-29", "0.2.0")
    wrong = Result("b", "failed", "AssertionError: \n'no'", 9.0, "2026-11-29")
    report.write(path, "bookworm-amd64", [first, wrong])
    report.merge(path, "bookworm-amd64", Result("c", "skipped", "no /dev/fuse"))
    report.merge(path, "bookworm-amd64", Result("b", "passed", "better"))
    found = report.read(path)
    assert [(one.name, one.outcome) for one in found.values()] == [("a", "passed"), ("b", "passed"), ("c", "skipped")]
    assert found["a"] == Result("a", "passed", "2 people | <3>  [1m", 3.5, "2026-11-29", "0.2.0")
    assert found["c"].seen == "no /dev/fuse"


def test_the_table_says_what_was_not_run_and_what_does_not_hold() -> None:
    shows = {"a": ("M1", "sees"), "b": ("", "hears"), "c": ("", "tells")}
    results = {"trixie-amd64": {"a": Result("a", "passed", "2 | 3", 7), "b": Result("b", "failed", "silence", 8)}}
    results["trixie-arm64"] = {"a": Result("a", "passed", "1")}
    text = report.tables({name: shows if "amd" in name else {"a": shows["a"]} for name in results}, results)
    assert "1 of 1 checks that were run passed; 0 were not run." in text
    assert "1 of 2 checks that were run passed; 1 were not run." in text
    assert "| `a` | M1 | sees | yes | 2 / 3 | 7 |" in text
    assert "| `b` |  | hears | **no** | silence | 8 |" in text
    assert text.count("| `c` |  | tells | not run |") == 1, "a check that needs what a target lacks is left out there"


def test_the_page_is_changed_between_its_marks_only() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.put(page, "new") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        report.put("nothing", "new")


def test_checks_that_can_share_a_machine_follow_each_other() -> None:
    def named(name: str, boot: Boot, *, own: bool = False) -> Check:
        return Check(name, "", lambda _: "", boot=boot, own_boot=own)

    small = Boot(memory=512)
    checks = [
        named("a", Boot(), own=True),
        named("b", small),
        named("c", Boot()),
        named("d", small),
        named("e", Boot()),
    ]
    assert [check.name for check in runner.ordered(checks)] == ["c", "e", "a", "b", "d"]


def test_every_check_stands_on_the_page_and_says_what_it_must_show(repository: Path) -> None:
    page = (repository / "docs/machine.md").read_text(encoding="utf-8")
    for check in CHECKS.values():
        assert len(check.shows) > 20
        assert f"`{check.name}`" in page, "run scripts/machine report"
    assert {f"M{number}" for number in range(1, 8)} <= {check.row for check in CHECKS.values()}


def test_the_agent_of_the_image_accepts_its_configuration(tmp_path: Path) -> None:
    from edge_agent.settings.loader import load

    config = tmp_path / "config.toml"
    config.write_text(image.CONFIG)
    assert load(config).device.id == "edge-vm"


def test_the_guests_helper_sets_options_where_they_belong(tmp_path: Path) -> None:
    helper = image.GUEST.read_text()
    program = helper.split("<<'PYTHON'\n")[2].split("\nPYTHON")[0]
    config = tmp_path / "config.toml"
    config.write_text(image.CONFIG)
    for name, value in (
        ("camera.source", '"none"'),
        ("camera.loop", "true"),
        ("camera.source", '"/dev/video20"'),
        ("outbox.max_mb", "16.0"),
    ):
        subprocess.run(["python3", "-c", program, config, name, value], check=True)
    text = config.read_text()
    assert text.count("source =") == 2
    assert '[camera]\nsource = "/dev/video20"\nloop = true\n' in text
    assert '[microphone]\nsource = "none"' in text
    assert "[outbox]\nmax_mb = 16.0\n" in text


def test_the_guests_helper_is_sound_shell() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run(["shellcheck", image.GUEST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def outbox_stats(**changed: Any) -> OutboxStats:
    known = {"counters": Counters(3, 1, 0, 0, 0), "pending": 2, "size": 1, "limit": 9, "salvages": 0, "ballast": True}
    names = {one.name for one in fields(OutboxStats)}
    return OutboxStats(**dict.fromkeys(names - set(known)) | known | changed)


def test_a_power_cut_is_judged_by_what_is_nowhere() -> None:
    owed = frozenset({("a", 1), ("a", 2), ("a", 3)})
    kept = power.Found(owed, frozenset({("a", 2), ("a", 3)}), False, outbox_stats())
    heard = {"a": frozenset({1})}
    assert power.judge(kept, heard) == power.Verdict(2, 0, True)
    assert power.judge(kept, {}, before=frozenset({("a", 1)})).lost == 0
    assert power.judge(kept, {}).lost == 1
    assert power.judge(kept, {"a": frozenset({1, 4})}).sound, "4 was acknowledged before it was written"
    assert not power.judge(replace(kept, broken=True), heard).sound
    assert not power.judge(replace(kept, stats=outbox_stats(salvages=1)), heard).sound
    assert not power.judge(replace(kept, stats=outbox_stats(pending=1)), heard).sound


def test_the_nightly_workflow_calls_what_there_is(repository: Path) -> None:
    workflow = yaml.safe_load((repository / ".github/workflows/machine.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["machine"]
    commands = " ".join(step.get("run", "") for step in job["steps"])
    assert "scripts/machine test" in commands
    for suite in job["strategy"]["matrix"]["suite"]:
        assert Target(suite).python in ("3.11", "3.13")
    used = set(re.findall(r"--(\w+)", commands.split("scripts/machine test")[1]))
    command = [sys.executable, repository / "scripts/machine", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert used <= set(re.findall(r"--(\w+)", told))
