"""An upload that is being analysed when the agent stops: its sender is told to come back, and the work ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest
from skimage import data as pictures

from tests.support import recordings
from tests.support.web_side import BEARER, Web


def working() -> bool:
    """Whether an upload is being analysed."""
    return any(thread.name.startswith("AnyIO") for thread in threading.enumerate())


def test_work_that_the_stop_interrupts_is_answered_and_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = pictures.astronaut()[:320, 96:416]
    film = recordings.write(tmp_path / "film.mp4", [(t / 30, one) for t in range(3300)])
    web = Web(tmp_path / "state")
    name, _, value = BEARER.partition(": ")
    answers: list[httpx.Response] = []

    def post() -> None:
        url = f"http://127.0.0.1:{web.port}/process-frame"
        answers.append(httpx.post(url, content=film.read_bytes(), headers={name: value}, timeout=60))

    sender = threading.Thread(target=post)
    sender.start()
    deadline = time.monotonic() + 10
    while not working():
        assert time.monotonic() < deadline, "the work does not begin"
        time.sleep(0.01)
    assert not answers, "the film is too short for this test"
    web.stop()
    sender.join(20)
    assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "5")
    deadline = time.monotonic() + 10
    while working():
        assert time.monotonic() < deadline, "it is still at work"
        time.sleep(0.05)
    assert not any(record.exc_info for record in caplog.records)
