"""``edge_agent.api`` with the real models: files, pictures and sound as a script would feed them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data as pictures

from edge_agent.api import (
    EMOTIONS,
    EVERY_FRAME,
    Analysis,
    ConfigError,
    MediaError,
    ModelError,
    Session,
    estimate_window,
)
from edge_agent.capture import iter_media
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.models import ModelStore


@pytest.fixture(autouse=True)
def models(model_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test run has fetched is used, and nothing is fetched."""
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
    monkeypatch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")


@pytest.fixture
def astronaut() -> npt.NDArray[np.uint8]:
    """A smiling face; RGB, 512 x 512, the face at about (224, 113)."""
    image: npt.NDArray[np.uint8] = pictures.astronaut()
    return image


def anonymous(analysis: Analysis) -> dict[str, Any]:
    """What must be equal in two runs: everything but the random names of tracks."""
    faces = [
        replace(row, face_id="", observations=tuple(replace(o, track=None) for o in row.observations))
        for row in analysis.faces
    ]
    return {"windows": analysis.summaries, "events": analysis.events, "faces": faces, "report": analysis.report}


def test_a_file_and_the_same_pictures_and_sound_fed_one_by_one_give_the_same(media: Path) -> None:
    path = media / "hungry.mkv"
    with Session() as session:
        whole = session.file(path)
    with Session() as session:
        for item in iter_media(path):
            if isinstance(item, Frame):
                session.frame(item.data, item.time)
            elif isinstance(item, AudioBlock):
                session.sound(item.samples, 16_000, item.time)
        fed = session.finish(whole.duration)
    assert whole.report.total_frames_analyzed == 9
    assert whole.faces
    assert anonymous(fed) == anonymous(whole)


def test_pictures_in_every_colour_order_show_the_face_and_its_emotion(astronaut: npt.NDArray[np.uint8]) -> None:
    grey = astronaut.mean(axis=2).astype(np.uint8)
    for image, rgb in ((astronaut, True), (astronaut[..., ::-1], False), (grey, False)):
        with Session(["face", "emotion"], stills=True) as session:
            report = session.frame(image, 0.0, rgb=rgb)
            assert report is not None
            (tracked,) = report.faces
            centre = tracked.face.box.centre
            assert (centre.x, centre.y) == pytest.approx((224 / 512, 113 / 512), abs=0.05)
            (reading,) = (o for o in report.observations if o.name == "emotion")
            assert reading.track == tracked.track
            assert sum(reading.values.values()) == pytest.approx(1, abs=1e-3)
            assert max(reading.values, key=lambda name: reading.values[name]) == "happiness"


def test_a_file_of_one_picture_is_judged(astronaut: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    with Session(["face", "emotion"]) as session:
        result = session.file(path)
    assert [round(row.box.w) for row in result.faces] == [93]
    assert result.report.overall_dominant_emotion == "happiness"


def test_every_frame_is_looked_at_when_asked_for(astronaut: npt.NDArray[np.uint8]) -> None:
    with Session(["face"], fps=EVERY_FRAME) as session:
        assert all(session.frame(astronaut, k / 1000, rgb=True) for k in range(5))


def test_windows_appear_as_time_goes_on(astronaut: npt.NDArray[np.uint8]) -> None:
    with Session({"face": {}, "emotion": {}}, window_s=1) as session:
        for k in range(11):
            session.frame(astronaut, k / 5, rgb=True)
        assert [w.window.begin for w in session.windows] == [0, 1]
        estimate = estimate_window(session.windows[1].window)
        assert estimate is not None
        assert estimate.dominant == "happiness"
        assert len(estimate.p) == len(EMOTIONS)
        assert [e.kind for e in session.events] == ["arrival"]
        assert len(session.finish().summaries) == 2


def test_the_rate_passes_pictures_over(astronaut: npt.NDArray[np.uint8]) -> None:
    with Session(["face"], fps=2) as session:
        looked = [session.frame(astronaut, k / 10, rgb=True) is not None for k in range(10)]
        assert sum(looked) == 2


@pytest.fixture(scope="module")
def laughter(media: Path) -> tuple[npt.NDArray[np.float32], float]:
    """The composed minute's first burst, 2 s of quiet before it, at 16 kHz; and where in it the burst begins."""
    truth = json.loads((media / "kiosk.json").read_text())["audio_events"]
    event = next(e for e in truth if e["label"] != "speech")
    blocks = [b.samples for b in iter_media(media / "kiosk.mp4") if isinstance(b, AudioBlock)]
    start = event["start_s"] - 2
    return np.concatenate(blocks)[int(start * 16_000) : int((event["end_s"] + 2) * 16_000)], 2.0


@pytest.mark.parametrize(("rate", "whole"), [(16_000, False), (48_000, True)])
def test_sound_of_any_rate_and_kind_gives_bursts(
    laughter: tuple[npt.NDArray[np.float32], float], rate: int, whole: bool
) -> None:
    samples, at = laughter
    stretched = np.repeat(samples, rate // 16_000)
    pcm = np.stack([(stretched * 32767).astype(np.int16)] * 2, axis=1)
    with Session(["burst"]) as session:
        pieces = [pcm] if whole else [pcm[k : k + 1000] for k in range(0, len(pcm), 1000)]
        for piece in pieces:
            session.sound(piece, rate, None)
        result = session.finish()
    assert result.duration == pytest.approx(len(samples) / 16_000, abs=0.05)
    bursts = [e for e in result.events if e.kind == "burst"]
    assert len(bursts) == 1
    assert bursts[0].start == pytest.approx(at, abs=0.75)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_cough_and_a_second_of_silence_are_answered_by_a_flush(seed: int, rate: int) -> None:
    synthesize = pytest.importorskip("training.burst.synth").synthesize
    cough = 0.3 * synthesize("cough", np.random.default_rng(seed)).samples
    room = np.random.default_rng(seed).normal(0, 0.0005, len(cough) + 8_000 + 16_000)
    room[8_000 : 8_000 + len(cough)] += cough
    heard = np.interp(np.arange(0, len(room), 16_000 / rate), np.arange(len(room)), room).astype(np.float32)
    with Session(["burst"]) as session:
        starts = []
        for _ in range(2):
            session.sound(heard, rate)
            assert session.flush()
            (event,) = session.take()[1]
            assert event.label == "cough"
            starts.append(event.start)
            assert session.flush() == []
        assert session.take() == ((), ())
        heard = session.finish().summaries[-1].window.stream.audio_seconds
        assert heard == pytest.approx(2 * len(room) / 16_000, abs=0.1)
    assert starts[1] - starts[0] == pytest.approx(len(room) / 16_000, abs=0.1)


def test_nothing_to_flush_before_the_first_sound() -> None:
    with Session(["burst"]) as session:
        assert session.flush() == []


def test_a_pause_in_the_sound_is_not_counted_as_covered() -> None:
    second = np.zeros(16_000, np.float32)
    with Session(["burst"], window_s=4) as session:
        session.sound(second, 16_000)
        session.sound(second, 16_000, 3.0)
        (summary,) = session.finish().summaries
    assert summary.window.stream.audio_seconds == pytest.approx(2.0, abs=0.01)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(["face", "burst"], window_s=1) as opened:
        yield opened


def test_what_cannot_be_a_picture_is_refused(session: Session, astronaut: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[height, width\]"):
        session.frame(astronaut.astype(np.float32), 0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not uint8"):
        session.frame(np.zeros((64, 64, 4), np.uint8), 0.0)
    with pytest.raises(ValueError, match="at least 16 pixels"):
        session.frame(np.zeros((0, 64, 3), np.uint8), 0.0)
    with pytest.raises(ValueError, match="nan is not a time"):
        session.frame(astronaut, float("nan"))


def test_time_goes_forward_only(session: Session, astronaut: npt.NDArray[np.uint8]) -> None:
    session.frame(astronaut, 5.0)
    with pytest.raises(ValueError, match="later than the last one"):
        session.frame(astronaut, 5.0)
    with pytest.raises(ValueError, match="in the order of their time"):
        session.sound(np.zeros(16, np.float32), 16_000, 1.0)
    session.sound(np.zeros(1600, np.float32), 16_000, 5.0)
    with pytest.raises(ValueError, match="must not begin before"):
        session.sound(np.zeros(16, np.float32), 16_000, 5.01)


def test_what_cannot_be_sound_is_refused(session: Session) -> None:
    session.sound(np.zeros(16, np.float32), 16_000)
    with pytest.raises(ValueError, match="same throughout"):
        session.sound(np.zeros(16, np.float32), 8_000)
    with pytest.raises(ValueError, match="array of real numbers"):
        session.sound(np.zeros((2, 2, 2), np.float32), 16_000)
    with pytest.raises(ValueError, match="array of real numbers"):
        session.sound(np.array(["a"]), 16_000)


def test_a_session_is_one_stream(session: Session, astronaut: npt.NDArray[np.uint8], media: Path) -> None:
    session.frame(astronaut, 0.0)
    with pytest.raises(ValueError, match="open another one for a file"):
        session.file(media / "hungry.mkv")
    session.finish()
    with pytest.raises(ValueError, match="has ended"):
        session.frame(astronaut, 1.0)


def test_an_invalid_analyzer_table_fails_only_when_the_analyzer_is_used(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[analyzers.attention]\nno_such_option = 1\n")
    with pytest.raises(ConfigError, match=r"unknown key analyzers\.attention\.no_such_option"):
        Session(["face", "attention"], config=config, pull=False)
    with Session(["face"], config=config, pull=False) as session:
        assert [name for name, status in session.analyzers.items() if status == "enabled"] == ["face"]


def test_errors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no analyzer 'faces'; there are: .*face"):
        Session(["faces"])
    with pytest.raises(ConfigError, match=r"unknown key analyzers\.face\.rang"):
        Session({"face": {"rang": "full"}})
    with pytest.raises(ConfigError, match="fps = 0"):
        Session(fps=0)
    with pytest.raises(ConfigError, match="window_s = -1"):
        Session(window_s=-1)
    with Session(["burst"]) as session, pytest.raises(MediaError, match="no such file"):
        session.file(tmp_path / "none.mp4")
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(tmp_path))
    with pytest.raises(ModelError, match="edge-agent models pull"):
        Session(["face"])


def test_a_damaged_model_is_refused(model_store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(model_store.directory, tmp_path / "models")
    for path in folder.glob("blazeface*.tflite"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(folder))
    with pytest.raises(ModelError):
        Session(["face"])


def test_statuses_of_the_analyzers() -> None:
    with Session(["burst"]) as session:
        assert session.analyzers["burst"] == "enabled"
        assert session.analyzers["face"] == "disabled: analyzers.face.enabled = false"
