"""The dashboard of a running agent in a real browser: what it shows is what the API says, and its switches switch."""

from __future__ import annotations

import io
import re
import time
import urllib.error
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.support import browser as browsers
from tests.support.browser import Browser
from tests.support.cli import Cli
from tests.support.dashboard import Device, cough, film, remember

pytestmark = pytest.mark.skipif(bool(browsers.MISSING), reason=browsers.MISSING)


NAME = "Lobby <b>of the second building</b>"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, media: Path) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("media")
    return film(folder / "face.mp4"), cough(folder / "cough.wav", media / "kiosk.mp4")


@pytest.fixture(scope="module")
def device(cli: Cli, media: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    running = Device(
        cli, tmp_path_factory.mktemp("device"), *media, preview="true", device=f'id = "lobby"\nname = "{NAME}"'
    )
    remember(running.state, 3, time.time() - 600)
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
    return f"{int(100 * share + 0.5)}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def test_the_form_asks_for_the_token(browser: Browser, device: Device) -> None:
    browser.look()
    browser.driver.delete_all_cookies()
    browser.driver.get(device.url)
    assert browser.driver.current_url == f"{device.url}/login"
    assert browser.barriers() == []
    browser.one("#token").send_keys("not the token", Keys.ENTER)
    browser.until(lambda: "That is not the token" in browser.text("#wrong"), "a refusal")
    assert [line for line in browser.complaints() if "401" not in line] == []
    browser.one("#token").send_keys(device.token, Keys.ENTER)
    browser.until(lambda: browser.text("#link") == "live", "the dashboard")
    assert browser.text("#name") == NAME  # text, never markup
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


def expected(now: dict[str, Any], presence: dict[str, Any]) -> dict[str, str]:
    emotion, attention = now["emotion"], now["attention"]
    return {
        "people": str(presence["count"]),
        "dominant": emotion["dominant"],
        "valence": signed(emotion["valence"]),
        "attention": f"{int(attention['ratio'] >= 0.5)} of 1",
        **{name: percent(share) for name, share in emotion["p"].items()},
    }


def test_tiles_and_bars_are_what_the_person_in_view_shows(page: Browser, device: Device) -> None:
    told: list[dict[str, str]] = []

    def same() -> bool:
        people, presence = device.ask("api/v1/people")["people"], device.ask("api/v1/status")["presence"]
        here = [person["now"] for person in people if person["here"]]
        if len(here) == 1 and here[0]["emotion"] and here[0]["attention"]:
            told.append(expected(here[0], presence))
        return shown(page) in told  # the page asks once a second, and the machine may be slow

    page.until(same, "the person shown as the API tells")


def drawn(page: Browser) -> int:
    """How many windows the plot of people has."""
    return str(
        page.script("return [...document.querySelectorAll('.area.m-people')].map(p => p.getAttribute('d')).join()")
    ).count("M")


def test_the_timeline_has_every_window_and_its_axes(page: Browser, device: Device) -> None:
    page.until(lambda: drawn(page) >= 3, "three windows")
    before, known = drawn(page), len(device.ask("api/v1/summaries")["summaries"])
    assert abs(known - before) <= 1
    page.until(lambda: drawn(page) >= before + 2, "two more windows")
    piled = page.script("return [...document.querySelectorAll('.stack')].map(path => path.getAttribute('d').length)")
    assert any(piled)
    titles = page.script("return [...document.querySelectorAll('.plot:not([hidden]) h3')].map(t => t.textContent)")
    assert titles[:3] == ["Expressions", "Heard", "People"]
    assert titles[-1] == "Visits"
    assert page.script("return document.querySelector('.stack.e-neutral')") is None, "it would drown the others"
    texts = page.script("return [...document.querySelectorAll('#timeline text')].map(t => t.textContent)")
    assert {"100 %", "50 %", "0 %"} <= set(texts)
    assert sum(bool(re.fullmatch(r"\d\d:\d\d(:\d\d)?", text)) for text in texts) >= 2


def test_events_appear_as_they_arrive(page: Browser, device: Device) -> None:
    for kind in ("arrival", "burst"):
        page.until(lambda kind=kind: page.text(f"#events [data-kind={kind}]"), f"an event: {kind}")  # type: ignore[misc]
    page.until(lambda: page.text("#events [data-label=cough]"), "a cough")
    burst = next(e for e in reversed(device.ask("api/v1/events")["events"]) if e["kind"] == "burst")
    page.until(lambda: burst["start"] in page.script(_TIMES), "the newest of them")
    page.until(lambda: page.script("return document.querySelectorAll('.sound').length > 0"), "a mark in the timeline")
    assert re.match(r"cough \d+", page.text(".chart .name"))
    page.until(lambda: page.text("#heard") in ("cough", "quiet"), "what was heard last")
    page.script("filter.value = 'arrival'; filter.dispatchEvent(new Event('change'))")
    kinds = page.script("return [...document.querySelectorAll('#events li')].map(e => e.dataset.kind)")
    assert set(kinds) == {"arrival"}
    page.script("filter.value = ''; filter.dispatchEvent(new Event('change'))")


_TIMES = "return [...document.querySelectorAll('#events time')].map(t => t.dateTime)"


def test_the_rate_is_explained(page: Browser, device: Device) -> None:
    page.until(lambda: device.ask("api/v1/status")["pacing"]["search"] in page.text("#rate"), "the reason")
    assert re.search(r"\d\.\d a second", page.text("#rate"))


def test_each_person_has_a_line_with_stay_attention_and_expressions(page: Browser, device: Device) -> None:
    def rows() -> dict[str, list[Any]]:
        found = page.script(
            "return [...document.querySelectorAll('#persons li')].map(r => [r.dataset.track,"
            " [r.className, r.querySelector('.how').textContent, r.querySelectorAll('.look').length]])"
        )
        return dict(found)

    def same() -> bool:
        told, shown = device.ask("api/v1/people?seconds=300")["people"], rows()
        good = 0
        for person in told:
            state, how, looks = shown.get(person["track"], ["", "", -1])
            known = [window for window in person["timeline"] if window["emotion"]]
            attention = person["attention"]
            good += (
                state == ("here" if person["here"] else "gone")
                and looks == len(known)
                and (attention is None or f"attention {percent(attention['ratio'])}" in how)
                and bool(known)
            )
        return good > 0

    page.until(same, "a person as the API tells")
    assert re.match(r"\d+ in view, [1-9]\d* in the last 5 minutes", page.text("#persons-now"))


def test_privacy_really_releases_the_devices_and_is_mirrored(
    page: Browser, device: Device, media: tuple[Path, Path]
) -> None:
    recordings = {str(path) for path in media}
    page.until(lambda: recordings <= device.open_files(), "open devices")
    page.one("#b-privacy").click()
    page.until(lambda: page.text("#s-camera") == page.text("#s-microphone") == "released", "released devices")

    def state() -> list[str]:
        document = device.ask("api/v1/status")["state"]
        return [document[name] for name in ("privacy", "camera", "microphone")]

    page.until(lambda: state() == ["on", "off", "off"], "the same in the device's state")
    assert not recordings & device.open_files()
    assert page.one("#notice").is_displayed()
    assert "nothing is watched" in page.text("#notice")
    assert not page.one("#c-camera").is_enabled()
    page.until(lambda: page.text("#dominant-sub") == "unknown: privacy is on", "a window without pictures")
    assert (page.text("#people"), page.text("#people-sub")) == ("–", "unknown: privacy is on")
    page.until(lambda: page.text("#health") == "privacy is on", "not that all is well")
    assert "not watching" in page.text("#rate")
    device.ask("api/v1/control/privacy", False)  # by somebody else
    page.until(lambda: page.one("#b-privacy").get_attribute("aria-pressed") == "false", "the other's choice")
    assert page.text("#s-camera") == "on"
    assert not page.one("#notice").is_displayed()
    page.until(lambda: recordings <= device.open_files(), "open devices")


def test_a_rate_beyond_the_limits_is_refused_in_words(page: Browser, device: Device) -> None:
    page.script("details.open = true")
    field = page.one("#c-max_fps")
    page.script("arguments[0].max = 1000", field)  # past the browser's own check
    field.clear()
    field.send_keys("500", Keys.TAB)
    page.until(lambda: "60" in page.text("#said"), "the reason of the refusal")
    assert device.ask("api/v1/status")["state"]["max_fps"] <= 60
    assert [line for line in page.complaints() if "409" not in line] == []


def test_an_hour_goes_back_to_before_the_start(page: Browser, device: Device) -> None:
    page.until(lambda: drawn(page) >= 1, "a window")
    page.one("[name=period][value='3600'] + span").click()
    page.until(lambda: drawn(page) >= 45, "the minutes of the history")
    recent = device.ask("api/v1/summaries")["summaries"]
    end = datetime.fromisoformat(recent[-1]["start"]).timestamp() + recent[-1]["seconds"]
    series = device.ask(f"api/v1/analytics?since={end - 3600}&step=60")["series"]
    assert abs(drawn(page) - len(series) - len(recent)) <= 2
    page.one("#timeline").send_keys(Keys.HOME)
    assert percent(max(series[0]["viewers"]["emotion"]["p"].values())) in page.text("#reading")
    windows = [s["viewers"] for s in series] + recent
    known = [(w["emotion"]["p"], w["faces"]["person_seconds"]) for w in windows if w["emotion"]]
    weight = sum(seconds for _, seconds in known)
    for name in ("happiness", "anger"):
        mean = sum(p[name] * seconds for p, seconds in known) / weight
        told = page.script(
            "return [...document.querySelectorAll('#trends tr')].find(r => r.textContent.startsWith(arguments[0]))"
            ".children[1].textContent",
            name,
        )
        assert abs(int(told.split()[0]) - 100 * mean) <= 2
    page.one("[name=period][value='604800'] + span").click()

    def before_the_start() -> int:
        return drawn(page) - len(device.ask("api/v1/summaries")["summaries"])

    page.until(lambda: before_the_start() in (2, 3, 4), "the three hours of the history")
    page.one("[name=period][value=start] + span").click()
    page.until(lambda: before_the_start() in (-1, 0, 1), "this run alone")


VISITS = """
const done = arguments[arguments.length - 1];
import('/static/past.js').then(({ Visits, lanes, figures }) => {
  const at = (seconds) => new Date(1000 * seconds).toISOString(), visits = new Visits();
  const add = (kind, start, seconds = 0) => visits.add({ kind, start: at(start), seconds });
  add('arrival', 100); add('arrival', 100); add('arrival', 130); add('departure', 100, 20); add('departure', 90, 60);
  const here = visits.here.map((v) => v.begin / 1000);
  const lanesFor = (most) => { const l = lanes(visits.all, most, 200e3); return [l.count, l.placed.length, l.left]; };
  const both = [lanesFor(6), lanesFor(2)];
  visits.check({ begin: 150e3, faces: { tracks: 1 } });
  const still = visits.here.length;
  visits.check({ begin: 150e3, faces: { tracks: 0 } });
  const late = new Visits(), came = (kind, seconds = 0) => late.add({ kind, start: at(100), seconds });
  came('arrival'); late.check({ begin: 120e3, faces: { tracks: 0 } }); came('departure', 15);
  done({ here, both, still, late: late.all.map((v) => [v.begin / 1000, v.end / 1000]),
    left: visits.here.length, ends: visits.all.map((v) => v.end / 1000),
    none: figures([], null, 0, 60e3) });
}).catch((error) => done(String(error)));
"""


def test_visits_are_made_from_arrivals_and_departures(page: Browser) -> None:
    found = page.driver.execute_async_script(VISITS)
    assert found["here"] == [100, 130]
    assert found["both"] == [[3, 4, 0], [2, 3, 1]]
    assert found["still"] == 2
    assert found["left"] == 0
    assert found["late"] == [[100, 115]], "a departure told after privacy began is that of the visit it ends"
    assert sorted(found["ends"]) == [120, 150, 150, 150]
    assert found["none"]["people"] is None
    assert found["none"]["valence"] == {"mean": None, "change": None}


FORMATS = """
const done = arguments[arguments.length - 1];
Promise.all([import('/static/format.js'), import('/static/chart.js'), import('/static/period.js')]).then(
  ([{ duration, signed, plural }, { moments }, { stepFor }]) => done({
    durations: [0, 9.96, 12.4, 99, 3599, 86400 * 3 + 7200].map(duration), signs: [signed(-0.001), signed(0.25)],
    plurals: [plural(1, 'person', 'people'), plural(0, 'frame')], hour: moments(1000, 3601000, 8),
    minute: moments(0, 60e3, 6), steps: [300, 3600, 86400, 604800].map(stepFor),
  })).catch((error) => done(String(error)));
"""


def test_figures_are_said_as_people_do(page: Browser) -> None:
    found = page.driver.execute_async_script(FORMATS)
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in found["durations"]] == [
        "0 s",
        "10 s",
        "12 s",
        "99 s",
        "60 min",
        "3 days 2 h",
    ]
    assert found["signs"] == ["0.00", "+0.25"]
    assert found["plurals"] == ["1 person", "0 frames"]
    assert found["hour"]["step"] == 600_000
    assert found["hour"]["found"] == [600_000 * k for k in range(1, 7)]
    assert found["minute"]["found"] == [10_000 * k for k in range(7)]
    assert found["steps"] == [60, 60, 600, 3600]


BESIDE = """
const done = arguments[arguments.length - 1];
Promise.all([
  import("/static/tiles.js"), fetch("/api/v1/summary").then((r) => r.json()),
  import("/static/past.js"), import("/static/timeline.js"),
]).then(([panels, w, past, timeline]) => {
  const read = () => [...document.querySelectorAll("#beside-rows dd")].map((d) => d.textContent);
  const language = { utterances: 2, words: 9, judged: 2, dominant: "joy", p: { joy: 0.61, love: 0.2 } };
  const before = document.getElementById("beside").hidden;
  panels.showBeside({ ...w, language, voice: { arousal: 0.31, seconds: 4.2, turns: 2 } });
  const spoken = read();
  panels.showBeside({ ...w, language: { utterances: 1, words: 1, judged: 0 }, voice: { seconds: 1, turns: 1 } });
  const unclear = read();
  panels.showBeside({ ...w, bursts: [] });
  const told = (more) => timeline.told(past.ofSummary({ ...w, ...more })).split(" · ");
  const line = told({ language, voice: { arousal: 0.31, seconds: 4.2, turns: 2 } });
  done({ before, spoken, unclear, silent: read(), line, quiet: told({}) });
});
"""


def test_faces_sounds_words_and_voices_stand_side_by_side(page: Browser) -> None:
    found = page.driver.execute_async_script(BESIDE)
    said = {name: [t.replace("\N{NO-BREAK SPACE}", " ") for t in found[name]] for name in found if name != "before"}
    assert found["before"] is True  # nothing that hears words runs here
    assert said["spoken"][2:] == ["joy 61 %, love 20 % (2 utterances, 9 words)", "arousal +0.31, 4.2 s of speech"]
    assert said["unclear"][2:] == ["cannot be judged (1 utterance, 1 word)", "arousal not known yet, 1 s of speech"]
    assert said["silent"][1:] == ["none", "nobody spoke", "nobody spoke"]
    assert {"words: joy 61 %, love 20 %", "voices: arousal +0.31"} <= set(said["line"]), "the timeline's reading"
    assert not [part for part in said["quiet"] if part.startswith(("words", "voices"))]


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True), (820, False), (1280, True)])
def test_it_fits_and_can_be_read(page: Browser, width: int, dark: bool) -> None:
    page.look(width, dark=dark)
    page.script("localStorage.clear(); location.reload()")
    page.until(lambda: page.script("return document.querySelectorAll('.line.m-people').length"), "plots")
    assert page.script("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert page.script("return document.documentElement.scrollWidth") <= width
    wide = page.script(
        "return [...document.querySelectorAll('.card *')].filter(e => e.getBoundingClientRect().right"
        " > e.closest('.card').getBoundingClientRect().right + 1).map(e => e.id || e.className)"
    )
    assert wide == []
    assert page.barriers() == []


def test_barriers_are_found(page: Browser) -> None:
    page.script("document.documentElement.removeAttribute('lang')")
    assert [line for line in page.barriers() if line.startswith("html-has-lang")]


def test_the_keyboard_is_enough(page: Browser) -> None:
    page.until(lambda: page.script("return document.querySelectorAll('.line.m-people').length"), "plots")
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


def test_the_picture_is_shown_only_when_asked_for_and_watching(
    page: Browser, device: Device, media: tuple[Path, Path]
) -> None:
    def shown() -> bool:
        return page.one("#picture").is_displayed() and bool(page.script("return picture.naturalWidth === 320"))

    assert page.one("#preview-on").is_displayed()
    assert not shown()
    page.one("#look").click()
    page.until(shown, "the picture")
    source = page.script("return picture.src")
    page.until(lambda: shown() and page.script("return picture.src") != source, "the next picture")
    assert likeness(device.fetch("api/v1/preview.jpg"), media[0]) > 0.9
    device.ask("api/v1/control/privacy", True)
    with pytest.raises(urllib.error.HTTPError, match="409"):
        device.fetch("api/v1/preview.jpg")
    page.until(lambda: not page.one("#picture").is_displayed(), "no picture")
    assert page.script("return picture.hasAttribute('src')") is False
    assert page.text("#no-picture") == "The camera is not watching."
    device.ask("api/v1/control/privacy", False)
    page.until(shown, "the picture again")
    page.until(lambda: page.text("#boxes .says").startswith("happiness"), "the face and its expression in it")
    page.one("#look").click()
    assert not page.one("#picture").is_displayed()
    assert [line for line in page.complaints() if "preview.jpg" not in line] == []


def likeness(picture: bytes, recording: Path) -> float:
    """Correlation of a JPEG with the frame of a film that it is most like."""

    def values(image: Image.Image) -> Any:
        pixels = np.asarray(image.convert("L").resize((64, 48)), float).ravel()
        return (pixels - pixels.mean()) / pixels.std()

    shown = values(Image.open(io.BytesIO(picture)))
    with av.open(str(recording)) as container:
        return max(float(np.mean(shown * values(f.to_image()))) for f in container.decode(video=0))


def test_a_lost_connection_is_shown_and_reestablished(browser: Browser, device: Device) -> None:
    """The last one: it leaves a device that cannot be switched."""
    page = opened(browser, device)
    page.until(lambda: page.text("#people") != "–", "a window")
    boot = device.ask("api/v1/status")["boot_id"]
    page.complaints()
    device.stop()
    page.until(lambda: page.text("#link") == "not connected", "the loss")
    assert page.one("#lost").is_displayed()
    assert "The last window shown is from" in page.text("#lost")
    device.start(
        EDGE_AGENT__WEB__CONTROL="false", EDGE_AGENT__PRIVACY__MIN_PEOPLE="2", EDGE_AGENT__WEB__PREVIEW="false"
    )
    page.until(lambda: page.text("#link") == "live", "a new connection")
    assert not page.one("#lost").is_displayed()
    assert device.ask("api/v1/status")["boot_id"] != boot
    page.until(lambda: page.script("return document.querySelectorAll('.line.m-people').length"), "new windows")
    every = "return [...document.querySelectorAll('header [data-toggle], .control :is(input, select, button)')]"
    switches = page.script(f"{every}.map(e => e.disabled)")
    assert len(switches) == 8
    assert all(switches)
    assert page.script("return document.getElementById('not-allowed').hidden") is False
    page.until(lambda: page.text("#dominant-sub") == "withheld: too few people", "one person's expressions withheld")
    page.until(lambda: "Withheld" in page.text("#nobody"), "nobody told apart")
    assert not page.one("#preview-on").is_displayed()
    assert not page.one("#preview").is_displayed()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        device.fetch("api/v1/preview.jpg")
    assert page.script("return document.querySelector('[data-plot=visits]').hidden") is True
    assert [line for line in page.complaints() if "ERR_CONNECTION" not in line and "WebSocket" not in line] == []
