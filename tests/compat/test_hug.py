"""The Hug API's analytics. Its one path is ``/``, which lies below ``/hug`` here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.cameras import MjpegCamera
from tests.support.cli import Cli
from tests.support.compat import Shell
from tests.support.web_agent import running


@pytest.mark.documented("Hug", "curl http://localhost:8000/")
def test_timestamp_quality_and_engagement(shell: Shell) -> None:
    told = json.loads(replace(shell, prefix="/hug").run())
    assert told.keys() == {"timestamp", "streaming_quality", "viewer_engagement"}
    assert told["streaming_quality"].keys() >= {"bitrate", "buffering", "resolution_changes"}
    assert told["viewer_engagement"].keys() >= {"watch_time", "interaction"}
    assert told["streaming_quality"]["bitrate"] is None, "the demo camera has no network"


@pytest.mark.documented(
    "Hug",
    "bitrate, buffering and resolution changes of a stream",
    differs="measured for network cameras, null for others; in bits per second of the video",
)
def test_the_bitrate_of_a_network_camera_is_measured(cli: Cli, tmp_path: Any, eventually: Callable[..., Any]) -> None:
    with MjpegCamera(fps=15) as camera:
        tables = {"camera": f'source = "{camera.url}"', "microphone": 'source = "none"', "mqtt": "enabled = false"}
        with running(
            cli, tmp_path, **tables, summary="window_s = 1", device='id = "kiosk-1"\ntrust_clock = true'
        ) as agent:
            client = agent.http(Authorization=f"Bearer {agent.token}")

            def quality() -> dict[str, Any]:
                return dict(client.get("/analytics").json()["streaming_quality"])

            told = eventually(lambda: (q := quality())["bitrate"] and q, timeout=60)
            size = len(camera.picture(camera.sent))
    assert told["bitrate"] == pytest.approx(8 * size * 15, rel=0.5)
    assert told["buffering"]["events"] >= 0
