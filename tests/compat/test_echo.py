"""The Echo backend's documented lines, run in a shell, in Node and by the agent."""

from __future__ import annotations

import json

import pytest

from tests.support.compat import Shell


@pytest.mark.documented("Echo", "curl http://localhost:8000/health")
def test_health(shell: Shell) -> None:
    assert json.loads(shell.run())["status"] == "ok"


@pytest.mark.documented("Echo", "http://localhost:8000/docs")
def test_interactive_documentation(shell: Shell) -> None:
    page = shell.run("curl http://localhost:8000/docs")
    assert "swagger-ui" in page


@pytest.mark.documented(
    "Echo",
    """curl -X POST "http://localhost:8000/video-stream/emotion" \\
     -F "file=@video.mp4\"""",
    differs="faces by person and picture, emotions as distributions",
)
def test_a_film_as_a_form(shell: Shell) -> None:
    told = json.loads(shell.run())
    (face,) = told["faces"].values()
    assert max(face[-1]["emotions"], key=face[-1]["emotions"].get) == "happiness"
    assert told["report"]["overall_dominant_emotion"] == "happiness"
