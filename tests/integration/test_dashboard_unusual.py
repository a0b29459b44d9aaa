"""The dashboard of devices in unusual states, fed by the event bus alone: gaps, wrong clocks, privacy, odd names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, FUSION, Event
from edge_agent.domain.summary import FaceSums, MeasureSums, StreamSums, Summary, VoiceSums, Window
from edge_agent.payloads.rendering import encode, event_document, summary_document
from tests.support.browser import MISSING, Browser
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber
from tests.support.web_side import TOKEN, Web
from tests.support.windows import a_window

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

NOON = 1_790_000_400.0
Seen = Callable[[], Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("profile"), patience=30.0)
    yield running
    running.close()


class Page:
    """The dashboard of a device that published ``windows`` and ``events``."""

    def __init__(self, browser: Browser, state: Path) -> None:
        self.browser = browser
        self._state = state
        self._web: Web | None = None
        self._seq = 0

    def open(
        self,
        *windows: Window,
        clock: str = "synced",
        events: tuple[Event, ...] = (),
        more: str = "[mqtt]\nenabled = false",
    ) -> Browser:
        """Start the device, publish, and look at it."""
        self._web = Web(self._state, device=f"trust_clock = true\n{more}")
        for window in windows:
            self.publish(window, clock)
        for event in events:
            document = event_document(event, NOON + event.start, "synced", "kiosk-1", "9f2c41d0", self._next())
            self._web.bus.publish("event", document)
        self.browser.look()
        self.browser.complaints()
        self.browser.driver.get(f"http://127.0.0.1:{self._web.port}/?token={TOKEN}")
        self.browser.script("localStorage.clear()")
        self.browser.until(lambda: self.browser.text("#link") == "live", "a connection")
        return self.browser

    def publish(self, window: Window, clock: Any = "synced") -> None:
        """A window that begins at ``NOON`` and its monotonic begin."""
        assert self._web is not None
        summary = Summary(NOON + window.begin, clock, window)
        self._web.bus.publish("summary", summary_document(summary, "kiosk-1", "9f2c41d0", self._next()))

    def state(self, kind: str, document: dict[str, Any]) -> None:
        """What the device is told to be."""
        assert self._web is not None
        self._web.bus.publish(kind, document)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def stop(self) -> None:
        """End, without complaints of the page."""
        if self._web is not None:
            assert self.browser.complaints() == []
            self._web.stop()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    found = Page(browser, tmp_path / "state")
    yield found
    found.stop()


def windows_drawn(page: Browser) -> int:
    path = "return [...document.querySelectorAll('.area.m-people')].map(p => p.getAttribute('d')).join()"
    return str(page.script(path)).count("M")


def choose(page: Browser, value: str) -> None:
    page.one(f"[name=period][value='{value}'] + span").click()


def test_the_last_window_is_shown_however_long_it_is(page: Page) -> None:
    shown = page.open(*(a_window(600.0 * k, 600.0) for k in range(3)))
    assert windows_drawn(shown) == 1
    choose(shown, "3600")
    shown.until(lambda: windows_drawn(shown) == 3, "all windows of the hour")


def blind(begin: float, seconds: float, why: str) -> Window:
    return Window(
        begin, begin + seconds, FaceSums(), stream=StreamSums(), unseen={why: seconds}, unheard={why: seconds}
    )


SHADES = """
return [...document.querySelectorAll('[data-plot=people] .shade')].map(
  (r) => [r.getAttribute('class').split(' ')[1], r.textContent, Math.round(r.getAttribute('width'))]);
"""


def test_the_axis_spans_what_was_chosen_and_says_why_nothing_is_known(page: Page) -> None:
    part = replace(a_window(190.0), stream=StreamSums(20, 6, 0, 1.3, 10.0), unseen={"covered": 8.7})
    windows = (a_window(0.0), blind(10.0, 30.0, "privacy"), blind(40.0, 20.0, "missing"), a_window(60.0), part)
    shown = page.open(*windows)
    shades = shown.script(SHADES)
    assert [(kind, why) for kind, why, _ in shades] == [
        ("w-none", "no data: before the start"),
        ("w-privacy", "privacy is on"),
        ("w-device", "the device is missing"),
        ("w-none", "no data"),
    ]
    whole = shown.script("return document.querySelector('[data-plot=people] svg').clientWidth") - 56
    for (_, _, width), seconds in zip(shades, (100, 30, 20, 120), strict=True):
        assert width == pytest.approx(whole * seconds / 300, abs=2)
    assert shown.script("return document.querySelectorAll('[data-plot=people] .area.little').length") == 1, "13 %"
    choose(shown, "604800")
    shown.until(lambda: shown.script(SHADES)[0][2] > 0.99 * whole, "a week without data but for four minutes")


def test_a_clock_that_is_not_known_is_shaded(page: Page) -> None:
    shown = page.open(a_window(0.0), clock="unsynced")
    shown.until(lambda: ["w-clock", "clock not known"] in [shade[:2] for shade in shown.script(SHADES)], "the shade")


HEALTHY: dict[str, Any] = {
    "status": "ok", "problems": [], "uptime_s": 400, "analyzers": {}, "sources": {},
    "delivery": {"enabled": False, "connected": False, "outbox": None, "protocol": None, "trouble": None},
    "process": {"rss_mb": 120.0, "cpu_s": 1.0, "temperature_c": None, "descriptors": 12},
}  # fmt: skip
ON: dict[str, Any] = {
    "privacy": "off", "scheduled": False, "camera": "on", "microphone": "on", "paused_until": None,
    "profile": "standard", "max_fps": 3, "auto_fps": True, "fps_limits": [0.1, 15], "log_level": "info",
    "unknown": {"people": None, "sounds": None}, "last_command": None,
}  # fmt: skip

CHIPS = """
const [state, health] = arguments, done = arguments[arguments.length - 1];
import('/static/tiles.js').then(({ chip }) => done([
  chip(true, state, health), chip(false, state, health), chip(true, null, health), chip(true, state, null),
  chip(true, { ...state, privacy: 'on' }, health), chip(true, { ...state, privacy: 'pending' }, health),
  chip(true, { ...state, paused_until: '2026-09-21T14:00:00.000Z' }, health),
  chip(true, { ...state, unknown: { people: 'covered', sounds: null } }, health),
  chip(true, { ...state, unknown: { people: 'none', sounds: 'missing' } }, health),
  chip(true, state, { ...health, problems: ['the disk is full'] }),
  chip(true, state, { ...health, status: 'starting' }),
].map(([text]) => text.replace(/ until .*/, '')))).catch((error) => done(String(error)));
"""


def test_all_well_is_said_only_when_it_is_known(page: Page) -> None:
    shown = page.open(a_window(0.0))
    assert shown.driver.execute_async_script(CHIPS, ON, HEALTHY) == [
        "all well", "unknown: no connection", "starting", "starting", "privacy is on", "privacy: being released",
        "paused", "the camera is covered", "the device is missing", "1 problem", "starting",
    ]  # fmt: skip
    page.state("health", HEALTHY | {"problems": ["<b>the disk</b> is full"], "status": "degraded"})
    page.state("state", ON | {"device": "kiosk-1", "v": 1})
    shown.until(lambda: shown.text("#health") == "1 problem", "the problem")
    assert shown.text("#problems") == "<b>the disk</b> is full"
    assert shown.one("#problems").is_displayed()


def test_events_stand_at_the_time_they_happened(page: Page) -> None:
    events = (
        Event(ARRIVAL, "person", 1.0, 5.0, 0.0),
        Event(BURST, "laughter", 0.9, 20.0, 1.5),
        Event(DEPARTURE, "person", 1.0, 5.0, 30.0),
        Event(BURST, "<img src=x onerror=alert(1)>", 0.8, 33.0, 1.0),
        Event(FUSION, "laughter+happiness", 0.9, 20.0, 1.5),
    )
    shown = page.open(*(a_window(10.0 * k) for k in range(5)), events=events)
    rows = shown.script(
        "return [...document.querySelectorAll('#events li')]"
        ".map(r => [r.children[0].dateTime, r.children[1].textContent])"
    )
    at = [datetime.fromisoformat(time).timestamp() - NOON for time, _ in rows]
    assert at == [35.0, 33.0, 20.0, 20.0, 5.0]
    assert [kind for _, kind in rows] == ["left", "heard", "both", "heard", "came"]
    assert shown.script("return document.querySelectorAll('main img[src=x]').length") == 0
    names = shown.script(
        "return [...document.querySelectorAll('[data-plot=sounds] .name')]"
        ".map(t => [t.textContent, t.getAttribute('class')])"
    )
    assert [name for name, _ in names] == ["<img src=x onerror=alert(1)> 1", "laughter 1"]
    assert names[1][1] == "name s-0"
    shown.script("filter.value = 'departure'; filter.dispatchEvent(new Event('change'))")
    assert len(shown.driver.find_elements(By.CSS_SELECTOR, "#events li")) == 1


SAVE = """
const done = arguments[arguments.length - 1];
Promise.all([import('/static/exporting.js'), import('/static/plots.js')]).then(async ([{ csv, png }, { PLOTS }]) => {
  const heard = [{ begin: 0, end: 1500, label: '=cmd|"x"', count: 2 }];
  const data = { from: 0, to: 1, points: [], visits: [], heard };
  const blob = await png(document.querySelector('[data-plot=people] svg'));
  const bytes = [...new Uint8Array(await blob.arrayBuffer())];
  done({ formula: csv(PLOTS.find((p) => p.name === 'sounds').table(data)), bytes });
}).catch((error) => done(String(error)));
"""

CLICK = """
const done = arguments[arguments.length - 1], make = URL.createObjectURL;
URL.createObjectURL = (blob) => { blob.text().then(done); return make(blob); };
document.querySelector('[data-plot=expressions] .choices button').click();
"""


def test_every_plot_is_saved_as_table_and_picture(page: Page) -> None:
    shown = page.open(*(a_window(10.0 * k) for k in range(4)))
    found = shown.driver.execute_async_script(SAVE)
    rows = list(csv.reader(io.StringIO(found["formula"])))
    assert rows[1] == ["1970-01-01T00:00:00.000Z", "1.5", '\'=cmd|"x"', "2"], "nothing that a spreadsheet would run"
    picture = Image.open(io.BytesIO(bytes(found["bytes"])))
    assert picture.format == "PNG"
    assert picture.width == 2 * shown.script("return document.querySelector('[data-plot=people] svg').clientWidth")
    assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 8
    table = list(csv.DictReader(io.StringIO(shown.driver.execute_async_script(CLICK))))
    assert len(table) == 4
    assert table[0]["start"] == datetime.fromtimestamp(NOON, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert sum(float(table[0][name]) for name in ("neutral", "happiness", "anger")) <= 1
    menus = shown.script(
        "return [...document.querySelectorAll('.plot:not([hidden]) .choices')]"
        ".map(m => m.querySelectorAll('button').length)"
    )
    assert menus == [2] * 6


SPAN = """
const [a, b] = document.getElementById('span').textContent.split(' – ').map(
  (text) => text.split(', ').at(-1).split(':').map(Number));
return (b[0] - a[0]) * 3600 + (b[1] - a[1]) * 60 + b[2] - a[2];
"""

TYPE = """
const [id, moment] = arguments, shift = new Date(moment).getTimezoneOffset() * 60e3;
document.getElementById(id).value = new Date(moment - shift).toISOString().slice(0, 19);
"""


def span(page: Browser) -> float:
    """Seconds that the axis spans, as the page says."""
    return float(page.script(SPAN))


def test_a_stretch_is_dragged_typed_or_zoomed_by_keys(page: Page) -> None:
    shown = page.open(*(a_window(10.0 * k) for k in range(30)))
    assert span(shown) == 300
    chart = shown.one("[data-plot=people] .chart")
    width = shown.script("return document.querySelector('[data-plot=people] svg').clientWidth")
    ActionChains(shown.driver).move_to_element_with_offset(chart, -int(width / 4), 0).click_and_hold().move_by_offset(
        int(width / 4), 0
    ).release().perform()
    shown.until(lambda: 60 < span(shown) < 90, "a quarter of it")
    shown.one("#unzoom").click()
    assert span(shown) == 300
    shown.script("document.getElementById('timeline').focus()")
    shown.one("#timeline").send_keys(Keys.END, "+")
    assert span(shown) == 150
    shown.one("#timeline").send_keys(Keys.ESCAPE)
    choose(shown, "custom")
    for name, moment in (("from", NOON + 60), ("to", NOON + 120)):
        shown.script(TYPE, f"range-{name}", 1000 * moment)
    shown.one("#range button").click()
    assert span(shown) == 60
    shown.until(lambda: windows_drawn(shown) == 6, "its six windows")


def test_thresholds_are_drawn_counted_and_kept(page: Page) -> None:
    shown = page.open(*(a_window(10.0 * k) for k in range(4)))
    shown.one("[data-plot=people] summary").click()
    field = shown.one("#limit-people")
    field.send_keys("1", Keys.TAB)
    shown.until(lambda: shown.text("[data-plot=people] .beyond-count") == "above 1 in 4 windows", "the count")
    assert len(shown.driver.find_elements(By.CSS_SELECTOR, "[data-plot=people] .limit")) == 1
    page.state("presence", {"v": 1, "device": "kiosk-1", "count": 2, "occupied": True, "unknown": None})
    shown.until(lambda: "beyond" in (shown.one("#t-people").get_attribute("class") or ""), "the tile marked")
    assert shown.script("return JSON.parse(localStorage.getItem('thresholds'))") == {"people": 1}


def test_what_plugins_and_voices_measure_is_shown_once_it_comes(page: Page) -> None:
    shown = page.open(a_window(0.0))
    assert not shown.one("#measured").is_displayed()
    measures = {
        "gaze.screen": MeasureSums(4, 2.0, 0.25, 0.75),
        "<i>custom:mood</i>.bored": MeasureSums(1, 0.5, 0.5, 0.5),
    }
    page.publish(replace(a_window(10.0), measures=measures, voice=VoiceSums(3.0, 1, 1.0, 0.4)))
    shown.until(lambda: shown.one("#measured").is_displayed(), "the card")
    assert shown.text("#measured-rows") == "<i>custom:mood</i>: bored0.500gaze: screen0.500 (0.250 to 0.750)"
    assert shown.one("#beside").is_displayed()


def test_other_devices_of_the_broker_are_listed(page: Page, broker: Mosquitto, subscriber: Subscriber) -> None:
    told = (("hall-2", "Hall <script>", b"online", 3), ("kiosk-1", "Kiosk", b"online", 0), ("old-1", "", b"offline", 1))
    for device, name, status, count in told:
        for kind, payload in (
            ("status", status),
            ("info", encode({"name": name, "version": "1"} if name else {})),
            ("presence", encode({"count": count, "unknown": None})),
            ("health", encode({"problems": ["x"] if device == "hall-2" else []})),
        ):
            subscriber.publish(f"edge-agent/{device}/{kind}", payload, retain=True)
    subscriber.publish("edge-agent/odd/health", b"[[[", retain=True)
    subscriber.wait_for("edge-agent/odd/health")
    shown = page.open(a_window(0.0), more=f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n')
    shown.until(lambda: shown.one("#devices").is_displayed(), "the list")
    rows = "return [...document.querySelectorAll('#devices li')].map(r => [...r.children].map(c => c.textContent))"
    assert shown.script(rows) == [
        ["Hall <script>", "online", "hall-2 · 3 people · 1 problem"],
        ["Kiosk", "online", "this one · 0 people"],
        ["old-1", "offline", "old-1"],
    ]


STRIP = """
const [person, now, done] = arguments;
import('/static/persons.js').then(({ showPersons }) => {
  showPersons([person], Date.parse(now), false);
  const box = document.querySelector('#persons .present');
  // Read at once: the page draws its own people again every second.
  const stay = document.querySelector('#persons .stay').textContent;
  done([Number(box.getAttribute('x')), Number(box.getAttribute('width')), stay]);
}).catch((error) => done(String(error)));
"""


def test_people_are_drawn_in_the_time_of_the_device(page: Page) -> None:
    """A device that was never online believes it is long ago; the strip is as wide as the 100 s of its history."""
    shown = page.open()
    person = {
        "track": "a", "since": "1970-01-01T01:00:00.000Z", "until": "1970-01-01T01:00:50.000Z", "here": False,
        "now": None, "seconds": 50.0, "trend": None, "emotion": None, "attention": None, "timeline": [],
        "name": "Ada <b>",
    }  # fmt: skip
    *strip, stay = shown.driver.execute_async_script(STRIP, person, "1970-01-01T01:01:40.000Z")
    assert strip == [0, 150]
    assert stay == "Ada <b>, stayed 50\N{NO-BREAK SPACE}s"
