"""With ``privacy.min_people`` a real agent tells of people together only, however the web side is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from skimage import data as pictures

from tests.support import recordings
from tests.support.cli import Cli
from tests.support.web_agent import running, wait_for


def told(http: httpx.Client) -> dict[str, Any] | None:
    """The latest window with expressions of two people, if there was one."""
    summaries = http.get("/api/v1/summaries").json()["summaries"]
    return next((s for s in summaries if s["faces"]["max"] == 2 and s["emotion"]), None)


def test_two_people_together_are_published_and_one_alone_is_withheld(cli: Cli, tmp_path: Path) -> None:
    one = pictures.astronaut()[:320, 96:416]
    film = recordings.write(tmp_path / "two.mp4", [(t / 10, np.hstack([one, one])) for t in range(30)])
    tables = {
        "camera": f'source = "{film}"\nloop = true',
        "microphone": 'source = "none"',
        "mqtt": "enabled = false",
        "summary": "window_s = 2",
    }
    with (
        running(cli, tmp_path, privacy="min_people = 2", **tables) as agent,
        agent.http(Authorization=f"Bearer {agent.token}") as http,
    ):
        wait_for(lambda: told(http), "a window of both")
        assert http.get("/api/v1/people", params={"seconds": 600}).json()["people"] == []
        assert http.get("/api/v1/preview.jpg").status_code == 404
        everything = {
            "status": http.get("/api/v1/status").json(),
            "events": http.get("/api/v1/events").json(),
            "analytics": http.get("/api/v1/analytics", params={"step": "60"}).json(),
        }
    assert everything["status"]["info"]["privacy"]["min_people"] == 2
    assert '"track"' not in json.dumps(everything)
