"""The dashboard of unusual devices: windows longer than the period that it shows first, a clock that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.domain.summary import Summary
from edge_agent.payloads.rendering import summary_document
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
        found.bus.publish("summary", summary_document(summary, "kiosk-1", "9f2c41d0", k + 1))
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


STRIP = """
const [person, now, done] = arguments;
import('/static/persons.js').then(({ showPersons }) => {
  showPersons([person], Date.parse(now), false);
  const box = document.querySelector('#persons .present');
  done([Number(box.getAttribute('x')), Number(box.getAttribute('width'))]);
}).catch((error) => done(String(error)));
"""


def test_people_are_drawn_in_the_time_of_the_device(web: Web, page: Browser) -> None:
    """A device that was never online believes it is long ago; the strip is as wide as the 100 s of its history."""
    page.driver.get(f"http://127.0.0.1:{web.port}/?token={TOKEN}")
    page.until(lambda: page.text("#link") == "live", "a connection")
    person = {
        "track": "a", "since": "1970-01-01T01:00:00.000Z", "until": "1970-01-01T01:00:50.000Z", "here": False,
        "seconds": 50.0, "trend": None, "emotion": None, "attention": None, "timeline": [],
    }  # fmt: skip
    assert page.driver.execute_async_script(STRIP, person, "1970-01-01T01:01:40.000Z") == [0, 150]
