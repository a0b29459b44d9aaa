"""Custom models from files: trained, scored by source, stored, tried and run live, with real media and models."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from skimage import data as pictures

from edge_agent.api import ConfigError, CustomModels, MediaError, PluginError, Session
from edge_agent.custom.store import CustomStore
from edge_agent.domain.media import AUDIO_RATE
from tests.support.cli import Cli

pytest.importorskip("sklearn")

STATE = "EDGE_AGENT__DEVICE__STATE_DIR"
EMODB = Path(__file__).parents[3] / "shared" / "data" / "emodb"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[device]\nstate_dir = "{tmp_path / "state"}"\n')
    return path


def sounds(folder: Path) -> Path:
    """12 hums and 12 hisses of six machines, each with its own colour and loudness."""
    random = np.random.default_rng(0)
    t = np.arange(int(1.5 * AUDIO_RATE)) / AUDIO_RATE
    for k in range(24):
        machine = k // 4
        label = ("hum", "hiss")[k % 2]
        wave = np.sin(2 * np.pi * (90 + 7 * machine) * t) if label == "hum" else random.normal(size=len(t)) / 2
        path = folder / label / f"machine{machine}" / f"{k}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (0.1 + 0.1 * machine) * wave + 0.002 * random.normal(size=len(t)), AUDIO_RATE)
    return folder


@pytest.fixture(scope="module")
def trained(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with ``examples`` and a ``state`` that holds the model "machine"; what its training printed as JSON."""
    folder = tmp_path_factory.mktemp("trained")
    examples = sounds(folder / "examples")
    done = cli("custom", "train", "machine", str(examples), "--json", **{STATE: str(folder / "state")})
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture
def machine(config: Path, trained: tuple[Path, dict[str, Any]]) -> Path:
    """Examples of the model "machine", of which the state of ``config`` holds a copy."""
    shutil.copytree(trained[0] / "state", config.parent / "state")
    return trained[0] / "examples"


def test_from_training_to_deletion_on_the_command_line(
    cli: Cli, machine: Path, tmp_path: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    def custom(*arguments: str) -> CompletedProcess[str]:
        return cli("custom", *arguments, **{STATE: str(tmp_path / "state")})

    told = trained[1]
    assert told["scores"]["good"]
    assert told["scores"]["sources"] == 6
    assert (told["medium"], told["labels"], told["version"]) == ("sound", ["hiss", "hum"], 1)
    found = custom("try", "machine", str(machine / "hum/machine0/0.wav"), "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["hum"] > 0.6
    assert "machine" in custom("list").stdout
    assert "did you mean 'machine'" in custom("show", "machin").stderr
    assert custom("delete", "machine").returncode == 0
    assert custom("show", "machine").returncode == 2


def test_a_model_judges_live_sound_in_summaries(config: Path, machine: Path) -> None:
    config.write_text(config.read_text() + '[analyzers."custom:machine"]\nenabled = true\n')
    hum, _ = soundfile.read(machine / "hum/machine2/8.wav")
    with Session(config=config) as session:
        assert session.analyzers["custom:machine"] == "enabled"
        session.sound(np.tile(hum, 4), AUDIO_RATE)
        (window,) = session.finish().summaries
    measure = window.window.measures["custom:machine.hum"]
    assert measure.count >= 4
    assert measure.mean > 0.6
    with Session(["custom:machine"], config=config) as session:  # shorter than a window of the model
        analysis = session.file(machine / "hiss/machine3/13.wav")
    assert analysis.summaries[0].window.measures["custom:machine.hiss"].count == 1


def test_a_new_version_is_used_without_a_restart(config: Path, machine: Path, tmp_path: Path) -> None:
    store = CustomStore(tmp_path / "state/custom")
    hum, _ = soundfile.read(machine / "hum/machine2/8.wav")
    trained = store.load("machine")
    swapped = replace(trained, weights=trained.weights[:, ::-1].copy(), bias=trained.bias[::-1].copy())

    def heard(session: Session) -> list[float]:
        reports = session.sound(np.tile(hum, 8), AUDIO_RATE)  # 12 s: longer than between two looks at the store
        return [o.values["hum"] for report in reports for o in report.observations if o.name == "custom:machine"]

    with Session(["custom:machine"], config=config) as session:
        assert min(heard(session)) > 0.6
        store.add(swapped)
        assert max(heard(session)[-2:]) < 0.4
        (tmp_path / "state/custom/machine/0003.npz").write_bytes(b"no model")
        assert max(heard(session)) < 0.4  # a damaged one replaces nothing


@pytest.mark.usefixtures("machine")
def test_doctor_tells_of_the_models(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "state/custom/broken/0001.npz"
    broken.parent.mkdir()
    broken.write_bytes(b"no model")
    found = cli("doctor", "--no-devices", "--json", **{STATE: str(tmp_path / "state")})
    told = [check["detail"] for check in json.loads(found.stdout)["checks"] if check["name"] == "custom models"]
    assert ["damaged" in detail for detail in told] == [True, False]
    assert told[1] == "broken, machine; can be trained here"


@pytest.mark.usefixtures("machine")
def test_a_damaged_model_stops_no_other_analyzer(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state/custom/machine/0001.npz").write_bytes(b"no model")
    with Session(["burst"], config=config) as session:
        assert session.analyzers["burst"] == "enabled"
        assert session.analyzers["custom:machine"].startswith("disabled")
    with pytest.raises(PluginError, match=r"custom:machine: .*damaged"):
        Session(["custom:machine"], config=config)
    with pytest.raises(ConfigError, match="runs in the agent's own process"):
        Session({"custom:machine": {"isolation": "process"}}, config=config)


def turned(folder: Path) -> Path:
    """A face upright and mirrored, in pictures of other sizes, brightness and noise."""
    random = np.random.default_rng(0)
    face = Image.fromarray(pictures.astronaut()).crop((100, 0, 400, 300))
    lines = ["file,label,source"]
    for k in range(20):
        picture = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if k % 2 else face
        noisy = np.asarray(picture.resize((280 + 8 * k, 280 + 8 * k))) * (0.7 + k / 60) + random.normal(0, 4, 3)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{('left', 'right')[k % 2]},camera{k // 2 % 5}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


def test_faces(config: Path, tmp_path: Path) -> None:
    models = CustomModels(config)
    model = models.train("side", turned(tmp_path))
    assert model.about.scores.good, model.about.scores.reason
    assert models.file(model, tmp_path / "0.png")["left"] > 0.6
    picture = np.asarray(Image.open(tmp_path / "1.png"))
    with Session(["face", "custom:side"], stills=True, config=config) as session:
        report = session.frame(picture, 0.0, rgb=True)
        assert report is not None
        (found,) = report.observations
    assert found.name == "custom:side"
    assert found.values["right"] > 0.6
    with pytest.raises(ConfigError, match="is for words, but custom model 'side' judges face"):
        models.file(model, _text(tmp_path / "words.txt", "hello"))


def test_a_file_without_a_face_is_named(config: Path, tmp_path: Path) -> None:
    table = turned(tmp_path)
    Image.new("RGB", (300, 300)).save(tmp_path / "3.png")
    with pytest.raises(MediaError, match=r"labels.csv, line 5: no face"):
        CustomModels(config).train("side", table)


def test_words(config: Path, tmp_path: Path) -> None:
    thanks = "Thank you so much|Thanks, that helped|I am grateful for your help|Many thanks to you|How kind, thank you"
    anger = "I hate this stupid thing|This makes me so angry|What a damn idiot|I am furious about it|Shut up, you fool"
    lines = ["text,label,source"]
    for label, texts in (("thanks", thanks), ("anger", anger)):
        for k, text in enumerate(texts.split("|")):
            lines += [f'"{text}, {more}",{label},person{k}' for more in ("really", "today")]
    models = CustomModels(config)
    model = models.train("mood", _text(tmp_path / "labels.csv", "\n".join(lines)))
    assert model.about.scores.good, model.about.scores.reason
    assert models.text(model, "Thank you for the lovely evening")["thanks"] > 0.6
    with Session({"language": {}, "custom:mood": {}}, config=config) as session:
        (passage,) = session.passages("You are an idiot and I hate you")
    (found,) = [o for o in passage[1] if o.name == "custom:mood"]
    assert found.values["anger"] > 0.6


@pytest.mark.skipif(not EMODB.is_dir(), reason="no EmoDB here")
def test_three_emotions_of_speakers_unseen(config: Path, tmp_path: Path) -> None:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    lines = ["file,label,source"]
    for path in sorted(EMODB.glob("*.ogg")):
        label, speaker = {"W": "anger", "N": "neutral", "T": "sadness"}.get(path.name[5]), path.name[:2]
        if label and counts[label, speaker] < 2:
            counts[label, speaker] += 1
            lines.append(f"{path},{label},{speaker}")
    assert len(lines) == 61
    scores = CustomModels(config).train("feeling", _text(tmp_path / "labels.csv", "\n".join(lines))).about.scores
    assert scores.good
    assert scores.sources == 10
    assert scores.score > 0.75


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
