"""``edge-agent plugins new`` makes packages that work: their tests and types hold, and the agent runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from edge_agent.cli.plugins import NewKind, check_name, package_files, write_package
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.plugin.testing.harness import HEAVY
from tests.support.cli import Cli, installed


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[NewKind, Path]:
    """A new package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    made = {kind: folder / f"edge-agent-my-{kind.value}" for kind in NewKind}
    for kind, target in made.items():
        write_package(target, package_files(f"my_{kind.value}", kind))
    return made


@pytest.fixture(scope="module")
def path(packages: dict[NewKind, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH on which the packages are installed."""
    return installed(tmp_path_factory.mktemp("site"), *packages.values())


def test_their_own_tests_pass(packages: dict[NewKind, Path], path: str, tmp_path: Path) -> None:
    """In one process; each package's own options name the plugin that the command names here."""
    tests = [str(target / "tests") for target in packages.values()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "edge_agent.plugin.testing", "--import-mode=importlib"]
    command += ["-k", "not import"]  # one process for each rule: the next test does this for all of them at once
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), *tests],
        capture_output=True, text=True, env=environment, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "89 passed" in done.stdout


def test_loading_them_imports_nothing_heavy(packages: dict[NewKind, Path], path: str) -> None:
    modules = [next(target.glob("edge_agent_*")).name for target in packages.values()]
    code = f"import sys, {', '.join(modules)}; print(*sorted(set({HEAVY!r}).intersection(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == ""


def test_their_types_hold(packages: dict[NewKind, Path], path: str, repository: Path) -> None:
    """By the repository's own strict options, whose cache of our types is warm after scripts/check."""
    code = [str(next(target.glob("edge_agent_*"))) for target in packages.values()]
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *code]
    environment = {**os.environ, "MYPYPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=repository, check=False)
    assert done.returncode == 0, done.stdout
    for target in packages.values():
        assert next(target.glob("edge_agent_*/py.typed")).exists()
        assert tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["strict"]


def test_they_follow_the_house_style(packages: dict[NewKind, Path], repository: Path) -> None:
    options = ["--isolated", "--select", "E,F,B,UP,SIM,ARG", "--line-length", "130"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *options, *map(str, packages.values())],
        capture_output=True, text=True, cwd=repository, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_agent_runs_each(path: str, cli: Cli, tmp_path: Path) -> None:
    names = [f"my_{kind.value}" for kind in NewKind]
    config = tmp_path / "config.toml"
    config.write_text(f"[plugins]\nallow = {json.dumps(names)}\n", encoding="utf-8")
    done = cli("plugins", "list", "--json", "-c", str(config), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    found = {name: (rows[name]["kind"], rows[name]["status"]) for name in names}
    assert found == {f"my_{kind.value}": (kind.value, "enabled") for kind in NewKind}


def test_the_command_makes_one_and_says_what_to_do_next(cli: Cli, tmp_path: Path) -> None:
    made = tmp_path / "deep" / "door"
    done = cli("plugins", "new", "door_bell", "--kind", "scene", "--folder", str(made))
    assert done.returncode == 0, done.stderr
    assert f"pip install -e {made}" in done.stdout
    files = {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()}
    package = "edge_agent_door_bell"
    own = {f"{package}/__init__.py", f"{package}/py.typed", "tests/test_door_bell.py"}
    assert files == {"pyproject.toml", "README.md", *own}
    again = cli("plugins", "new", "door_bell", "--kind", "scene", "--folder", str(made))
    assert again.returncode == 2
    assert f"{made} exists already" in again.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Door-Bell", "such as 'door_bell'"),
        ("../../etc", "such as 'etc'"),
        ("a__b", "such as 'a_b'"),
        ("_a", "such as 'a'"),
        ("9", "a letter first$"),
        ("", "a letter first$"),
        ("a" * 41, "up to 40"),
        ("Ärger", "such as 'rger'"),
        ("face", "a plugin 'face' is installed already by edge-emotion-agent"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, text: str) -> None:
    with pytest.raises(typer.BadParameter, match=text):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "door_bell", "class", "x2", "a" * 40])
def test_names_that_can_be_are_taken(name: str) -> None:
    check_name(name)


def test_a_refusal_leaves_nothing_behind(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, code, text in (
        (["a-b", "--kind", "scene"], 2, "such as 'a_b'"),
        (["bell", "--kind", "camera"], 2, "'scene', 'face', 'detector', 'audio', 'speech', 'text', 'source', 'sink'"),
        (["bell", "--kind", "sink", "--folder", "/proc/bell"], 1, "edge-agent: cannot make /proc/bell: "),
    ):
        done = cli("plugins", "new", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
        assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_folder_is_taken_back(tmp_path: Path) -> None:
    with pytest.raises(EdgeAgentError, match="cannot write"):
        write_package(tmp_path / "new", {"a.py": "", "x" * 300: ""})
    assert list(tmp_path.iterdir()) == []
