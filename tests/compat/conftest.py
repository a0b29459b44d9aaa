"""One running agent for the documented lines of a service that it replaces.

``shell`` runs the line of a test's ``documented`` mark; see :mod:`tests.support.compat` for the form of these marks.
The agent is the installed command with the demo camera and microphone, and the models of this machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from skimage import data as pictures

from tests.support.cli import Cli
from tests.support.compat import Shell
from tests.support.recordings import tone, write
from tests.support.web_agent import WebAgent, running

DEMO = {"camera": 'source = "demo"', "microphone": 'source = "none"', "mqtt": "enabled = false"}
"""Tables of its config besides ``device`` and ``web``."""


@pytest.fixture(scope="module")  # for the whole session, one in every worker would take CPU time from all other tests
def compat_agent(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebAgent]:
    """The agent."""
    with running(cli, tmp_path_factory.mktemp("compat"), **DEMO) as agent:
        yield agent


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that documented lines name: ``video.mp4``, ``sample_video.mp4``,
    ``face.jpg`` and ``sound.wav``."""
    folder = tmp_path_factory.mktemp("samples")
    face = pictures.astronaut()
    Image.fromarray(face).save(folder / "face.jpg")
    write(folder / "video.mp4", [(number / 5, face) for number in range(15)], fps=5)
    write(folder / "sound.wav", sound=tone(1.0))
    shutil.copy(folder / "video.mp4", folder / "sample_video.mp4")
    return folder


@pytest.fixture
def shell(compat_agent: WebAgent, samples: Path, request: pytest.FixtureRequest) -> Shell:
    """Runs the test's line."""
    mark = request.node.get_closest_marker("documented")
    return Shell(compat_agent.port, compat_agent.token, samples, mark.args[1] if mark else "")
