"""The dashboard of a device whose windows are longer than the period that it shows first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.delivery.payload import summary_document
from edge_agent.domain.summary import Summary
from tests.support.browser import MISSING, Browser
from tests.support.web_side import TOKEN, Web
from tests.support.windows import a_window

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

WINDOW_S = 600.0
NOON = 1_790_000_400.0


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    found = Web(tmp_path / "state")
    for k in range(3):
        summary = Summary(NOON + WINDOW_S * k, "synced", a_window(WINDOW_S * k, WINDOW_S))
        found.board.post("summary", summary_document(summary, "kiosk-1", "9f2c41d0", k + 1))
    yield found
    found.stop()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile", patience=20.0)
    yield browser
    browser.close()


def windows_drawn(page: Browser) -> int:
    return str(page.script("return document.querySelector('.area.people')?.getAttribute('d') ?? ''")).count("M")


def test_the_last_window_is_shown_however_long_it_is(web: Web, page: Browser) -> None:
    page.driver.get(f"http://127.0.0.1:{web.port}/?token={TOKEN}")
    page.until(lambda: page.text("#link") == "live", "a connection that stays")
    assert windows_drawn(page) == 1
    page.one("[name=period][value='3600'] + span").click()
    page.until(lambda: windows_drawn(page) == 3, "all windows of the hour")
    assert page.complaints() == []
