"""``edge-agent analyze --html``: the page of a real recording, and how a real browser shows it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import reduce
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.app.offline import Analysis, FaceRow, Report, UtteranceRow
from edge_agent.cli.report import Axis, clock, condensed, page, persons, sounds, thumbnails
from edge_agent.domain.event import BURST, Event
from edge_agent.domain.face import Box
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS
from edge_agent.domain.summary import EmotionSums, FaceSums, LanguageSums, StreamSums, Summary, VoiceSums, Window
from edge_agent.summary.summariser import merge_summaries
from tests.support.cli import Cli

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Balance(HTMLParser):
    """Checks that every element is closed and collects attributes that could make a browser ask for something."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asking: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._ask(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def _ask(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asking += [(tag, name) for name, _ in attrs if name in ("src", "href", "srcset", "data", "style")]
        if tag in ("script", "link", "iframe", "img", "object"):
            self.asking.append((tag, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._ask(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def made_up(source: str, windows: int = 3) -> Analysis:
    """A recording with a face in every second window, a bark, and a dark camera."""
    summaries = []
    for k in range(windows):
        emotion = (
            EmotionSums(10.0, (8.0, 2.0, *(0.0,) * 6), (7.0, 1.0, *(0.0,) * 6), 20) if k % 2 == 0 else EmotionSums()
        )
        stream = StreamSums(150, 50, 0, 10.0, 5.0, frozenset({"dark"}) if k else frozenset())
        faces = FaceSums(2, 15.0, 10.0, 0, 2) if k % 2 == 0 else FaceSums(seconds=10.0)
        window = Window(10.0 * k, 10.0 * k + 10, faces=faces, emotion=emotion, stream=stream)
        summaries.append(Summary(10.0 * k, "unsynced", window))
    events = (Event(BURST, "laughter", 0.9, 12.0, 1.5),)
    return Analysis(source, 10.0 * windows, tuple(summaries), events, (), Report(None, None, 50 * windows, None))


@pytest.fixture(scope="module")
def report(cli: Cli, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a short real recording."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    result = cli("analyze", str(media / "sorry.mkv"), "--window", "1", "--html", str(path))
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.strip().splitlines()[-1] == f"{path}: written"
    return path


def test_the_page_is_self_contained(report: Path) -> None:
    text = report.read_text()
    checker = Balance()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert checker.asking == []
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert text.count("<svg") >= 3


def test_format_is_still_printed_when_asked_for(cli: Cli, media: Path, tmp_path: Path) -> None:
    film = media / "sorry.mkv"
    result = cli("analyze", str(film), "--format", "json", "--html", str(tmp_path / "r.html"))
    document = json.loads(result.stdout)
    text = (tmp_path / "r.html").read_text()
    assert f"<b>{document['report']['total_frames_analyzed']}</b>pictures analysed" in text
    assert f"<b>{document['report']['overall_dominant_emotion']}</b>mostly" in text


def test_a_page_that_cannot_be_written_is_said_in_a_line(cli: Cli, media: Path, tmp_path: Path) -> None:
    film = str(media / "sorry.mkv")
    nowhere = cli("analyze", film, "--html", str(tmp_path / "none" / "r.html"))
    assert nowhere.returncode == 2
    assert "create it first" in nowhere.stderr
    folder = cli("analyze", film, "--html", str(tmp_path))
    assert folder.returncode == 3
    assert f"{tmp_path}: the report cannot be written: Is a directory" in folder.stderr
    assert "Traceback" not in folder.stderr


def test_the_figures_drawn_are_the_windows() -> None:
    text = page([made_up("film.mp4")])
    bars = re.findall(r'<g opacity="[\d.]+"><rect class="e-neutral"[^>]*height="([\d.]+)"', text)
    assert bars == ["128.0"] * 2  # the window without evidence is empty
    assert "0:00 to 0:10, people 1.5, at most 2, neutral 80 %, happiness 20 %, valence +0.18" in text
    assert text.count('<rect class="m-valence faint"') == 2
    assert "<title>burst laughter at 0:12, 1.5 s, score 0.90</title>" in text
    assert text.count('<rect class="flag"') == 2
    assert text.count("<title>50 %</title>") == 3


def test_words_and_voices_stand_beside_faces_and_sounds() -> None:
    joy = tuple(1.4 if name == "joy" else 0.0 for name in LANGUAGE_EMOTIONS)
    analysis = made_up("film.mp4")
    heard = replace(
        analysis.summaries[0].window, language=LanguageSums(3, 9, 2, joy), voice=VoiceSums(4.0, 2, 1.0, 4.0)
    )
    unclear = replace(analysis.summaries[1].window, language=LanguageSums(1, 1), voice=VoiceSums(1.0, 1))
    summaries = [replace(s, window=w) for s, w in zip(analysis.summaries, (heard, unclear), strict=False)]
    words = (
        UtteranceRow("<b>so & so</b>", 1.0, 2.0, 0.8, dict.fromkeys(LANGUAGE_EMOTIONS, 0.0) | {"joy": 0.7}),
        UtteranceRow("danke", 61.0, 62.0, None, None, "not_english"),
    )
    text = page([replace(analysis, summaries=tuple(summaries), utterances=words)])
    names = re.findall("<th scope=.col.>(.*?)</th>", text)
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", text)]
    windows = [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]
    assert [(row["words"], row["voice"]) for row in windows] == [("joy 70 %", "arousal +0.25"), ("", "")]
    assert '<th scope="col">words</th>' not in page([analysis]), "a column without anything in it"
    said = [row for row in rows if len(row) == 3]
    assert said[0][:2] == ["0:01", "&lt;b&gt;so &amp; so&lt;/b&gt;"]
    assert "joy" in said[0][2]
    assert said[1][:2] == ["1:01", "danke"]
    assert said[1][2], "why it could not be judged"


def a_face(time: float, track: str, happiness: float) -> FaceRow:
    emotion = dict.fromkeys(EMOTIONS, 0.0) | {"neutral": 1 - happiness, "happiness": happiness}
    return FaceRow(int(5 * time), time, track, Box(0, 0, 10, 10), 0.9, emotion)


def test_each_person_has_a_strip_in_seconds() -> None:
    faces = [a_face(k / 5, "b", 0.25) for k in range(10, 25)] + [a_face(k / 5, "a", 1.0) for k in range(50)]
    faces.append(FaceRow(300, 20.0, "c", Box(0, 0, 10, 10), 0.9, None))
    text = persons(faces, Axis(30.0))
    assert re.findall(r">(person \d)</text>", text) == ["person 1", "person 2", "person 3"]
    assert text.count('class="cover faint"') == 10 + 3 + 1
    assert (
        re.findall(r'class="e-happiness"[^>]*y="([\d.]+)" height="([\d.]+)"', text)
        == [("3.0", "20.0")] * 10 + [("44.0", "5.0")] * 3
    )
    many = [a_face(k / 5, f"p{k % 20}", 0.5) for k in range(100)]
    assert "And 8 more" in persons(many, Axis(30.0))


def test_pictures_are_in_it_only_when_asked_for(cli: Cli, media: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    refused = cli("analyze", str(media / "sorry.mkv"), "--thumbnails")
    assert refused.returncode == 2
    assert "add --html FILE" in refused.stderr
    result = cli("analyze", str(media / "sorry.mkv"), "--html", str(path), "--thumbnails")
    assert result.returncode == 0, result.stderr
    text = path.read_text()
    columns = re.findall(r'<g class="col"><rect x="[\d.]+" width="([\d.]+)"', text)
    assert columns[:3] == ["345.5", "345.5", "161.0"], "seconds, though its one window lasts 10"
    assert text.count("<img") == 12
    assert "img-src data:" in text
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    picture = Image.open(io.BytesIO(base64.b64decode(data[0])))
    assert max(picture.size) == 180
    assert thumbnails(Path(__file__)) == []


def test_long_names_of_sounds_are_not_cut_off_by_the_margin() -> None:
    """What stands left of the axis has 16 characters a line; the whole name is told where the pointer is."""
    heard = (
        Event("fusion", "laughter+happiness", 0.9, 1.0, 0.5),
        Event("sound", "a_label_that_is_longer_than_two_lines_can_hold", 0.9, 2.0, 0.5),
    )
    text = sounds(heard, Axis(10.0))
    assert re.findall("<tspan[^>]*>(.*?)</tspan>", text) == [
        "a label that is",
        "longer than two…",
        "laughter with",
        "happiness",
    ]
    assert "<title>a label that is longer than two lines can hold</title>" in text


def test_names_and_labels_cannot_become_markup() -> None:
    nasty = made_up("<script>alert(1)</script>.mp4")
    nasty = replace(nasty, events=(Event(BURST, '"><img src=x>', 0.5, 1.0, 1.0),))
    text = page([nasty])
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x&gt;" in text


def test_a_still_or_silent_recording_has_a_page() -> None:
    empty = Analysis("still.png", 0.0, (), (), (), Report(None, None, 1, None))
    text = page([empty])
    assert "nothing to judge" in text
    assert "No vocal bursts were heard" in text


def test_a_day_is_merged_into_few_windows_exactly() -> None:
    day = made_up("day.mp4", 8640).summaries
    shown = condensed(day)
    assert len(shown) == 240
    assert reduce(merge_summaries, shown).window.faces == reduce(merge_summaries, day).window.faces
    assert len(page([made_up("day.mp4", 8640)])) < 1_000_000


def test_positions_are_formatted_as_minutes_and_seconds() -> None:
    assert [clock(t) for t in (0, 9.96, 61.25, 3600, 86399)] == ["0:00", "0:10", "1:01.2", "1:00:00", "23:59:59"]
    for seconds in (0.0, 0.3, 7.0, 60.0, 86_400.0, 5e6):
        assert 1 <= len(Axis(seconds).ticks()) <= 9


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser (Debian: apt install chromium)")
def test_a_browser_shows_it_in_both_themes(report: Path, tmp_path: Path) -> None:
    brightness = []
    for theme in (1, 0):
        picture, profile = tmp_path / f"{theme}.png", tmp_path / str(theme)
        asked = (f"--blink-settings=preferredColorScheme={theme}", "--window-size=400,1200", f"--screenshot={picture}")
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *asked, report.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
        image = Image.open(picture).convert("L")
        brightness.append(image.getpixel((3, 3)))
        assert len(image.getcolors(1 << 16) or []) > 10  # something is drawn
    assert brightness[0] > 240
    assert brightness[1] < 40
