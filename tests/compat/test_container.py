"""The container file: every file, option, model and command that it names is there and works. Building it takes minutes
and a network, so here it is read; the image is built with ``buildah bud --format docker``.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.models.catalogue import Catalogue
from edge_agent.settings import Settings
from edge_agent.settings.loader import setting_variable
from tests.support.web_agent import WebAgent

INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
}  # fmt: skip


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@pytest.fixture(scope="module")
def steps(repository: Path) -> list[tuple[str, str]]:
    return instructions((repository / "Containerfile").read_text(encoding="utf-8"))


def of(steps: list[tuple[str, str]], name: str) -> Iterator[str]:
    return (rest for found, rest in steps if found == name)


@pytest.mark.documented(
    "Flask",
    "docker build -t flask-video-emotion .",
    differs="-f Containerfile; built by hand with buildah, its files, models and options checked by the test",
)
def test_everything_that_the_container_file_names_is_there(repository: Path, steps: list[tuple[str, str]]) -> None:
    assert {name for name, _ in steps} <= INSTRUCTIONS
    assert all("debian:${DEBIAN}" in base for base in of(steps, "FROM"))
    assert dict(part.split("=") for part in next(of(steps, "ARG")).split())["DEBIAN"].endswith("-slim")
    ignored = (repository / ".containerignore").read_text(encoding="utf-8").split()
    kept = [pattern[1:] for pattern in ignored if pattern.startswith("!")]
    assert ignored[0] == "**"
    for copy in of(steps, "COPY"):
        for source in [word for word in copy.split()[:-1] if not copy.startswith("--from")]:
            assert (repository / source).exists(), source
            assert any(fnmatch.fnmatch(source, k) or k.startswith(f"{source}/") for k in kept), f"{source} is ignored"
    models = next(rest for rest in of(steps, "ARG") if rest.startswith("MODELS"))
    assert set(shlex.split(models.partition("=")[2])[0].split()) <= {entry.name for entry in Catalogue.load()}
    assert next(of(steps, "ENTRYPOINT")) == '["edge-agent"]'
    assert next(of(steps, "CMD")) == '["run"]'
    for version in re.findall(r"py3\d+", (repository / "pyproject.toml").read_text()):
        assert (repository / "constraints" / f"{version}.txt").exists()


@pytest.mark.documented("Flask", "docker run -p 5000:5000 flask-video-emotion", differs="port 8765; a token is mounted")
def test_it_runs_without_rights_and_with_options_that_there_are(
    steps: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user,) = of(steps, "USER")
    assert user == "edge-agent"
    assert any("useradd --system --uid 10001" in run and run.endswith(user) for run in of(steps, "RUN"))
    given = dict(part.split("=", 1) for part in shlex.split(next(of(steps, "ENV"))))
    token = tmp_path / "token"
    token.write_text("0123456789abcdef-container")
    given |= {"EDGE_AGENT__WEB__TOKEN_FILE": str(token), "PATH": "/usr/bin"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.web.enabled, settings.web.host) == (True, "0.0.0.0")
    assert str(settings.web.port) == next(of(steps, "EXPOSE"))
    assert next(of(steps, "VOLUME")) == str(settings.device.state_dir)
    for name in given.keys() - {"PATH"}:
        path = tuple(name.removeprefix("EDGE_AGENT__").lower().split("__"))
        assert setting_variable(path, {name: ""}) == name


@pytest.mark.documented("Flask", "HEALTHCHECK of the container")
def test_its_health_check_tells_a_running_agent_from_none(steps: list[tuple[str, str]], compat_agent: WebAgent) -> None:
    (check,) = of(steps, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    command[0] = sys.executable
    ports = (compat_agent.port, 1)
    results = [
        subprocess.run([part.replace(":8765/", f":{port}/") for part in command], check=False, capture_output=True)
        for port in ports
    ]
    assert [result.returncode == 0 for result in results] == [True, False]
