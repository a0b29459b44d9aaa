"""The engines through the product's runtime on the recording with known sounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import av
import numpy as np
import pytest

from edge_agent.capture.replay import BLOCK, sound
from edge_agent.domain.errors import ModelError
from edge_agent.domain.event import Event
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.plugin import AnalyzerContext
from edge_agent_burst import LABELS, edge_agent_register_analyzers
from edge_agent_burst.analyzer import BurstAnalyzer


class Models:
    """The bundled model, and YAMNet when a folder is given."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def locate(self, name: str) -> Path:
        if name == "burst":
            return Path(str(resources.files("edge_agent_burst"))) / "burst.tflite"
        if self._folder is None:
            raise ModelError(f"model {name} is not installed: 'edge-agent models pull {name}' gets it")
        return self._folder / f"{name}.tflite"


@pytest.fixture(scope="module")
def kiosk(shared: Path) -> np.ndarray:
    """The sound of the recorded minute."""
    return sound_of(shared / "media" / "kiosk.mp4")


@pytest.fixture(scope="module")
def made(media: Path) -> np.ndarray:
    """The sound of the minute that is made for the tests."""
    return sound_of(media / "kiosk.mp4")


def sound_of(path: Path) -> np.ndarray:
    parts = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", AUDIO_RATE)
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts)


def make(folder: Path | None, **settings: object) -> BurstAnalyzer:
    spec, _ = edge_agent_register_analyzers()
    subject = spec.factory(spec.settings(**settings), AnalyzerContext(Models(folder)))
    assert isinstance(subject, BurstAnalyzer)
    return subject


def hear(subject: BurstAnalyzer, samples: np.ndarray, block: int) -> list[Event]:
    found = []
    for position in range(0, len(samples), block):
        found += subject.analyze(AudioBlock(samples[position : position + block], position / AUDIO_RATE))
    return [event for event in [*found, *subject.finish()] if isinstance(event, Event)]


@pytest.mark.parametrize(
    "settings",
    [
        [{"engine": "own"}],
        [{"engine": "yamnet"}, {"engine": "yamnet", "labels": LABELS}, {"engine": "yamnet", "hop_s": 0.12}],
    ],
    ids=["own", "yamnet"],
)
def test_the_bursts_and_nothing_else(shared: Path, kiosk: np.ndarray, settings: list[dict[str, object]]) -> None:
    for each in settings:
        check_bursts(make(shared / "models", **each), kiosk, shared / "media" / "kiosk.json")


@pytest.mark.parametrize("settings", [{}, {"labels": LABELS}, {"hop_s": 0.16}], ids=["default", "all", "often"])
def test_the_synthesized_bursts_and_nothing_else(media: Path, made: np.ndarray, settings: dict[str, object]) -> None:
    check_bursts(make(None, engine="own", **settings), made, media / "kiosk.json")


def check_bursts(subject: BurstAnalyzer, samples: np.ndarray, told: Path) -> None:
    """Every burst that ``told`` knows, and nothing else, is heard where it is."""
    truth = json.loads(told.read_text())["audio_events"]
    bursts = [event for event in truth if event["label"] != "speech"]
    subject.self_check()
    events = hear(subject, samples, 1_024)
    assert [event.label for event in events] == [burst["label"] for burst in bursts]
    assert [event.start for event in events] == pytest.approx([burst["start_s"] for burst in bursts], abs=0.3)
    ends = [event.start + event.seconds for event in events]
    assert ends == pytest.approx([burst["end_s"] for burst in bursts], abs=0.5)
    assert all(0.0 < event.score <= 1.0 for event in events)


def test_a_constant_offset_costs_the_own_model_no_burst(made: np.ndarray) -> None:
    plain, shifted = (hear(make(None, engine="own"), sound, 1_600) for sound in (made, made + np.float32(0.02)))
    assert [event.label for event in shifted] == [event.label for event in plain] != []


def test_a_constant_offset_costs_no_burst(shared: Path, kiosk: np.ndarray) -> None:
    events = hear(make(shared / "models", engine="yamnet"), kiosk + np.float32(0.02), 1_600)
    assert [event.label for event in events] == ["cough", "cough", "crying", "sneeze", "cough"]


@pytest.mark.parametrize("offset", [-0.02, 0.005, 0.01, 0.3])
def test_a_quiet_cough_is_detected_despite_an_offset(offset: float) -> None:
    synthesize = pytest.importorskip("training.burst.synth").synthesize
    random = np.random.default_rng(3)
    room = random.normal(0, 0.0005, 4 * AUDIO_RATE).astype(np.float32)
    cough = 0.1 * synthesize("cough", random, "dry").samples
    room[AUDIO_RATE : AUDIO_RATE + len(cough)] += cough
    plain, moved = (hear(make(None), room + np.float32(level), 1_600) for level in (0.0, offset))
    assert [event.label for event in plain] == ["cough"]
    assert [(e.label, round(e.start, 1)) for e in moved] == [(e.label, round(e.start, 1)) for e in plain]


@pytest.mark.parametrize("engine", ["own", "yamnet"])
def test_speech_is_no_burst(shared: Path, engine: str) -> None:
    paths = sorted((shared / "data" / "bursts" / "speech").glob("*.ogg"))[::60]
    subject = make(shared / "models", engine=engine, labels=LABELS)
    for path in paths:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", AUDIO_RATE)
            parts = [p.to_ndarray()[0] for f in container.decode(audio=0) for p in resampler.resample(f)]
        assert hear(subject, np.concatenate(parts), 4_096) == []


def demo(random: np.random.Generator) -> np.ndarray:
    return np.concatenate([sound(i * BLOCK / AUDIO_RATE, random) for i in range(120 * AUDIO_RATE // BLOCK)])


def hiss(random: np.random.Generator) -> np.ndarray:
    return random.normal(0.0, 0.001, 120 * AUDIO_RATE)


def loud_hiss(random: np.random.Generator) -> np.ndarray:
    return random.normal(0.0, 0.03, 120 * AUDIO_RATE)


def fan(random: np.random.Generator) -> np.ndarray:
    """Mains hum with its harmonics and a low rumble."""
    t = np.arange(120 * AUDIO_RATE) / AUDIO_RATE
    hum = sum(0.01 / k * np.sin(2 * np.pi * 50 * k * t) for k in (1, 2, 3, 4))
    rumble = np.cumsum(random.normal(0.0, 1e-4, len(t)))
    return hum + rumble - np.convolve(rumble, np.full(1_601, 1 / 1_601), "same")


@pytest.mark.parametrize("room", [demo, hiss, loud_hiss, fan], ids=lambda room: room.__name__)
def test_an_empty_room_is_no_burst(room: Callable[[np.random.Generator], np.ndarray]) -> None:
    samples = room(np.random.default_rng(0)).astype(np.float32)
    assert hear(make(None), samples, 1_600) == []


def test_without_yamnet_the_error_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match="models pull"):
        make(None, engine="yamnet")


def test_a_damaged_yamnet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yamnet.tflite").write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match="yamnet"):
        make(tmp_path, engine="yamnet")
