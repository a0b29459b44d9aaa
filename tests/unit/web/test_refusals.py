"""Why something is refused is told as it is, there and in the log."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest

from edge_agent.api import Session
from edge_agent.web import upload
from tests.support.web import Server
from tests.support.web_side import BEARER, Web

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
"""One red pixel."""


def test_a_config_that_uploads_cannot_use_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[analyzers.attention]\nno_such_option = 1\n")
    server = Server(upload.routes(partial(Session, config=config, pull=False)))
    try:
        answer = httpx.post(f"http://{server.address}/process-frame", content=PNG, timeout=20)
    finally:
        server.stop()
    assert answer.status_code == 503
    assert "log" in answer.json()["detail"]
    assert "no_such_option" in caplog.text


@pytest.mark.parametrize(
    ("more", "status", "words"), [("", 404, b"web.preview is off"), ("preview = true", 409, b"not used")]
)
def test_there_is_no_preview_of_a_camera_that_is_not_used(tmp_path: Path, more: str, status: int, words: bytes) -> None:
    web = Web(tmp_path, more)
    try:
        answer = web.ask("GET", "/api/v1/preview.jpg", BEARER)
    finally:
        web.stop()
    assert answer[0] == status
    assert words in answer[1]
