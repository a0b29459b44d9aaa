"""The dashboard of a running agent in a real browser: what it shows is what the API says, and its switches switch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support import browser as browsers
from tests.support.browser import Browser
from tests.support.cli import Cli
from tests.support.dashboard import Device, cough, film

pytestmark = pytest.mark.skipif(bool(browsers.MISSING), reason=browsers.MISSING)

THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("media")
    return film(folder / "face.mp4"), cough(folder / "cough.wav", shared / "media" / "kiosk.mp4")


@pytest.fixture(scope="module")
def device(cli: Cli, media: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    running = Device(cli, tmp_path_factory.mktemp("device"), *media)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


def opened(browser: Browser, device: Device) -> Browser:
    """The dashboard as somebody sees it who came in earlier."""
    browser.look()
    cookie = {"name": "edge-agent-token", "value": device.token, "url": device.url}
    browser.driver.execute_cdp_cmd("Network.setCookie", cookie)
    browser.driver.get(device.url)
    browser.until(lambda: browser.text("#link") == "live", "a connection")
    return browser


@pytest.fixture
def page(browser: Browser, device: Device) -> Iterator[Browser]:
    browser.complaints()
    yield opened(browser, device)
    assert browser.complaints() == []
    assert browser.hosts() <= {f"127.0.0.1:{device.port}"}


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)} %"


def test_the_form_asks_for_the_token(browser: Browser, device: Device) -> None:
    browser.look()
    browser.driver.delete_all_cookies()
    browser.driver.get(device.url)
    assert browser.driver.current_url == f"{device.url}/login"
    browser.one("#token").send_keys("not the token", Keys.ENTER)
    browser.until(lambda: "That is not the token" in browser.text("#wrong"), "a refusal")
    assert [line for line in browser.complaints() if "401" not in line] == []
    browser.one("#token").send_keys(device.token, Keys.ENTER)
    browser.until(lambda: browser.text("#link") == "live", "the dashboard")
    assert browser.text("#name") == "Lobby"
    cookie = browser.driver.get_cookie("edge-agent-token")
    assert cookie is not None
    assert cookie["httpOnly"] is True
    assert cookie["sameSite"] == "Strict"
    assert browser.complaints() == []


def shown(page: Browser) -> dict[str, str]:
    values = {name: page.text(f"#{name}") for name in ("people", "dominant", "valence", "attention")}
    rows = page.script(
        "return [...document.querySelectorAll('#bars li')].map(r => [r.dataset.emotion, r.lastChild.textContent])"
    )
    return values | dict(rows)


def expected(summary: dict[str, Any]) -> dict[str, str]:
    emotion, attention = summary["emotion"], summary["attention"]
    return {
        "people": f"{summary['faces']['mean']:.1f}",
        "dominant": emotion["dominant"],
        "valence": f"{emotion['valence']:+.2f}".replace("-", "−"),
        "attention": percent(attention["ratio"]),
        **{name: percent(share) for name, share in emotion["p"].items()},
    }


def test_values_are_those_of_the_latest_summary(page: Browser, device: Device) -> None:
    seen = set()

    def same() -> bool:
        summary = device.ask("api/v1/summary")
        if not (summary["emotion"] and summary.get("attention")) or shown(page) != expected(summary):
            return False
        seen.add(summary["seq"])
        return len(seen) >= 3  # it follows

    page.until(same, "three windows shown as they are")


def test_the_timeline_has_every_window_and_its_axes(page: Browser, device: Device) -> None:
    def drawn() -> int:
        return page.script("return document.querySelector('.area.people')?.getAttribute('d') ?? ''").count("M")

    page.until(lambda: drawn() >= 3, "three windows")
    before, known = drawn(), len(device.ask("api/v1/summaries")["summaries"])
    assert abs(known - before) <= 1
    page.until(lambda: drawn() >= before + 2, "two more windows")
    piled = page.script("return [...document.querySelectorAll('.stack')].map(path => path.getAttribute('d').length)")
    assert len(piled) == 8
    assert any(piled)
    texts = page.script("return [...document.querySelectorAll('#timeline text')].map(t => t.textContent)")
    assert {"Expressions", "Heard", "People", "Visits", "100 %", "50 %", "0 %"} <= set(texts)
    assert sum(bool(re.fullmatch(r"\d\d:\d\d(:\d\d)?", text)) for text in texts) >= 2


def test_events_are_told_as_they_come(page: Browser, device: Device) -> None:
    for kind in ("arrival", "burst"):
        page.until(lambda kind=kind: page.text(f"#events [data-kind={kind}]"), f"an event: {kind}")  # type: ignore[misc]
    page.until(lambda: page.text("#events [data-label=cough]"), "a cough")
    newest = device.ask("api/v1/events")["events"][-1]
    times = page.script("return [...document.querySelectorAll('#events time')].map(t => t.dateTime)")
    assert newest["start"] in times or page.until(lambda: newest["start"] in page.script(_TIMES), "the newest event")
    page.until(lambda: page.script("return document.querySelectorAll('.sound').length > 0"), "a mark in the timeline")


_TIMES = "return [...document.querySelectorAll('#events time')].map(t => t.dateTime)"


def test_the_rate_is_explained(page: Browser, device: Device) -> None:
    page.until(lambda: device.ask("api/v1/status")["pacing"]["search"] in page.text("#rate"), "the reason")
    assert re.search(r"\d\.\d a second", page.text("#rate"))


def test_privacy_really_releases_the_devices_and_is_mirrored(
    page: Browser, device: Device, media: tuple[Path, Path]
) -> None:
    recordings = {str(path) for path in media}
    page.until(lambda: recordings <= device.open_files(), "open devices")
    page.one("#c-privacy").click()
    page.until(lambda: page.text("#s-camera") == page.text("#s-microphone") == "released", "released devices")

    def state() -> list[str]:
        document = device.ask("api/v1/status")["state"]
        return [document[name] for name in ("privacy", "camera", "microphone")]

    page.until(lambda: state() == ["on", "off", "off"], "the same in the device's state")
    assert not recordings & device.open_files()
    assert page.one("#notice").is_displayed()
    assert "nothing is watched" in page.text("#notice")
    assert not page.one("#c-camera").is_enabled()
    page.until(lambda: page.text("#dominant-sub") == "the camera is not watching", "a window without pictures")
    device.ask("api/v1/control/privacy", False)  # by somebody else
    page.until(lambda: not page.one("#c-privacy").is_selected(), "the other's choice in this page")
    assert page.text("#s-camera") == "on"
    assert not page.one("#notice").is_displayed()
    page.until(lambda: recordings <= device.open_files(), "open devices")


def test_a_rate_beyond_the_limits_is_refused_in_words(page: Browser, device: Device) -> None:
    field = page.one("#c-max_fps")
    page.script("arguments[0].max = 1000", field)  # past the browser's own check
    field.clear()
    field.send_keys("500", Keys.TAB)
    page.until(lambda: "60" in page.text("#said"), "the reason of the refusal")
    assert device.ask("api/v1/status")["state"]["max_fps"] <= 60
    assert [line for line in page.complaints() if "409" not in line] == []


@THEMES
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_it_fits_and_can_be_read(page: Browser, width: int, dark: bool) -> None:
    page.look(width, dark=dark)
    page.script("localStorage.clear(); location.reload()")
    page.until(lambda: page.script("return document.querySelectorAll('.line.people').length"), "plots")
    assert page.script("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert page.script("return document.documentElement.scrollWidth") <= width
    wide = page.script(
        "return [...document.querySelectorAll('.card *')].filter(e => e.getBoundingClientRect().right"
        " > e.closest('.card').getBoundingClientRect().right + 1).map(e => e.id || e.className)"
    )
    assert wide == []
    for ground in ("card", "bg"):
        for ink in ("ink", "soft", "accent", "good", "bad", "people", "attention"):
            need = 3.0 if ink in ("people", "attention") else 4.5  # WCAG: lines, and text
            assert contrast(colour(page, ink), colour(page, ground)) >= need, (ink, ground)


def colour(page: Browser, name: str) -> str:
    return str(page.script(f"return getComputedStyle(document.documentElement).getPropertyValue('--{name}')")).strip()


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours as WCAG defines it."""

    def luminance(text: str) -> float:
        parts = [int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_keyboard_is_enough(page: Browser) -> None:
    page.until(lambda: page.script("return document.querySelectorAll('.line.people').length"), "plots")
    page.script("document.querySelector('#timeline').focus()")
    page.one("#timeline").send_keys(Keys.ARROW_LEFT)
    last = page.until(lambda: page.text("#reading"), "a reading")
    assert "person" in last or "not watched" in last
    page.one("#timeline").send_keys(Keys.ARROW_LEFT)
    page.until(lambda: page.text("#reading") not in ("", last), "the reading before")
    theme = page.script("return document.documentElement.dataset.theme")
    page.one("#theme").send_keys(Keys.ENTER)
    assert page.script("return document.documentElement.dataset.theme") != theme
    page.one("[name=period][value='300']").send_keys(Keys.ARROW_RIGHT)
    assert page.one("[name=period][value='3600']").is_selected()
    nameless = page.script(
        "return [...document.querySelectorAll('button, input:not([hidden]), select, [tabindex]')].filter(e =>"
        " !(e.labels?.length || e.textContent.trim() || e.ariaLabel || e.getAttribute('aria-labelledby')))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []


def test_a_lost_connection_is_told_and_found_again(browser: Browser, device: Device) -> None:
    """The last one: it leaves a device that cannot be switched."""
    page = opened(browser, device)
    page.until(lambda: page.text("#people") != "–", "a window")
    boot = device.ask("api/v1/status")["boot_id"]
    page.complaints()
    device.stop()
    page.until(lambda: page.text("#link") == "not connected", "the loss")
    assert page.one("#lost").is_displayed()
    assert "The last window shown is from" in page.text("#lost")
    device.start(EDGE_AGENT__WEB__CONTROL="false")
    page.until(lambda: page.text("#link") == "live", "a new connection")
    assert not page.one("#lost").is_displayed()
    assert device.ask("api/v1/status")["boot_id"] != boot
    page.until(lambda: page.script("return document.querySelectorAll('.line.people').length"), "new windows")
    switches = page.script("return [...document.querySelectorAll('[data-command], [data-do]')].map(e => e.disabled)")
    assert len(switches) == 9
    assert all(switches)
    assert "web.control" in page.text("#said")
    assert [line for line in page.complaints() if "ERR_CONNECTION" not in line and "WebSocket" not in line] == []
