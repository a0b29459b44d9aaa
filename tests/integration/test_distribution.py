"""The distribution's own name, its bounds, and the stranger's package of the name that it must not have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from edge_agent.domain.distribution import DISTRIBUTION, TAKEN, foreign_distribution


def install(site: Path, name: str, version: str, entry_points: str = "") -> None:
    """What an installed distribution leaves beside its modules."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("edge_agent/__init__.py,,\n")
    (info / "entry_points.txt").write_text(entry_points)


def command(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "300", "NO_COLOR": "1"}
    line = [sys.executable, "-m", "edge_agent", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=site, timeout=100, check=False)


OURS = "[edge_agent]\nface = edge_agent_face\n"


class TestForeignDistribution:
    def test_ours_alone_under_either_name_is_fine(self, tmp_path: Path) -> None:
        assert foreign_distribution([str(tmp_path)]) is None
        install(tmp_path / "old", TAKEN, "0.1.0", OURS)
        install(tmp_path / "new", DISTRIBUTION, "0.1.0", OURS)
        assert foreign_distribution([str(tmp_path / "old")]) is None
        assert foreign_distribution([str(tmp_path / "new")]) is None

    def test_the_foreign_distribution_is_reported_with_the_remedy(self, tmp_path: Path) -> None:
        install(tmp_path, DISTRIBUTION, "0.1.0", OURS)
        install(tmp_path, TAKEN, "0.4.0")
        told = foreign_distribution([str(tmp_path)])
        assert told is not None
        assert "edge-agent 0.4.0 is installed: that is another project" in told
        assert "pip uninstall edge-agent'" in told
        assert f"install {DISTRIBUTION} again" in told

    def test_old_and_new_distribution_together_are_reported(self, tmp_path: Path) -> None:
        install(tmp_path, DISTRIBUTION, "0.1.0", OURS)
        install(tmp_path, TAKEN, "0.1.0", OURS)
        assert "installed twice" in (foreign_distribution([str(tmp_path)]) or "")


def test_every_command_and_the_doctor_report_the_foreign_distribution(tmp_path: Path) -> None:
    install(tmp_path, TAKEN, "0.4.0")
    done = command(tmp_path, "config", "check")
    (line,) = [line for line in done.stderr.splitlines() if "another project" in line]
    assert line.startswith("edge-agent: edge-agent 0.4.0 is installed")
    checked = json.loads(command(tmp_path, "doctor", "--no-devices", "--json").stdout)["checks"]
    (found,) = [check for check in checked if check["name"] == "distribution"]
    assert found["status"] == "fail"
    assert "pip uninstall edge-agent" in found["remedy"]


def test_a_package_overwritten_by_the_strangers_ends_in_one_line(repository: Path, tmp_path: Path) -> None:
    """pip unpacked theirs over ours: the package now begins with their ``__init__``."""
    shutil.copytree(repository / "edge_agent", tmp_path / "edge_agent")
    (tmp_path / "edge_agent" / "__init__.py").write_text("from edge_agent.chain import Chain\n")
    (tmp_path / "edge_agent" / "chain.py").write_text("class Chain: ...\n")
    install(tmp_path, TAKEN, "0.4.0")
    done = command(tmp_path, "--version")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "that is another project, whose files replace those of this program" in line


def test_no_text_names_the_foreign_distribution_for_installation(repository: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    wrong = []
    tells = re.compile(
        r"(pip3? (install|wheel|download)|uv add|pipx install|uvx --from)[^\n|]*[ '\"]edge-agent(?![\w/.-])"
        r"|edge-agent\[|edge-agent=="
    )
    for name in listed.stdout.splitlines():
        path = repository / name
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{name}: {found[0]}" for found in tells.finditer(text)]
    assert wrong == []


def requirements(repository: Path) -> Iterator[Requirement]:
    for file in (repository / "pyproject.toml", *repository.glob("plugins/*/pyproject.toml")):
        text = tomllib.loads(file.read_text())
        named = [*text["build-system"]["requires"], *text["project"].get("dependencies", ())]
        for extra in text["project"].get("optional-dependencies", {}).values():
            named += extra
        yield from map(Requirement, named)


def test_every_dependency_has_an_upper_bound_by_major_version(repository: Path) -> None:
    for requirement in requirements(repository):
        if requirement.name == DISTRIBUTION and not requirement.specifier:
            continue  # an extra of this project names another one
        bounds = {spec.operator: Version(spec.version) for spec in requirement.specifier}
        assert bounds.keys() & {"<", "=="}, f"{requirement} has no upper bound"
        if "<" in bounds:
            breaking = bounds["<"].release[:1] == (0,)  # before 1.0 a minor version may break what it likes
            assert breaking or bounds["<"].release[1:] in ((), (0,)), f"{requirement} is not bounded by a major version"


@pytest.mark.parametrize("name", ["py311", "py311-numpy1", "py312", "py313"])
def test_a_tested_set_pins_every_dependency_within_its_bounds(repository: Path, name: str) -> None:
    lines = (repository / "constraints" / f"{name}.txt").read_text().splitlines()
    pinned = {
        line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2]
        for line in lines
        if not line.startswith("#")
    }
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    target = {"python_version": f"{name[2]}.{name[3:5]}", "platform_machine": "x86_64", "sys_platform": "linux"}
    for line in [*project["dependencies"], *extras["web"], *extras["demo"], *extras["dev"], *extras["pi"]]:
        requirement = Requirement(line)
        if requirement.name == DISTRIBUTION or (requirement.marker and not requirement.marker.evaluate(target)):
            continue
        version = pinned.get(requirement.name.lower().replace("_", "-"))
        assert version, f"{requirement.name} is not in constraints/{name}.txt: run make lock"
        assert requirement.specifier.contains(version), f"{requirement}: {version} was tested: run make lock"
    assert pinned["numpy"].startswith("1.") == name.endswith("numpy1")


def test_the_interpreters_that_are_found_are_what_they_are_called(repository: Path) -> None:
    done = subprocess.run([repository / "scripts" / "pythons"], capture_output=True, text=True, check=True)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    for version, python in found.items():
        told = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
        assert told.startswith(f"Python {version}.")
    missing = {"3.11", "3.12", "3.13"} - found.keys()
    assert {line.split()[1] for line in done.stderr.splitlines()} == missing
