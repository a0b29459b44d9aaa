"""``python -m training.evaluate`` on somebody's own test set, and on what is none."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent.domain.errors import MediaError
from training.burst import evaluate as burst
from training.burst.recordings import RATE
from training.burst.synth import synthesize
from training.emotion import evaluate as emotion


def run(repository: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.evaluate", *map(str, words)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def write_sound(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def faces(count: int = 12) -> dict[str, Any]:
    """Flat pictures; all say happiness but one whose two winners are even and one whose winner is not a face."""
    votes = np.zeros((count, 10), np.uint8)
    votes[:, 1] = 10
    votes[0] = [0, 5, 0, 5, 0, 0, 0, 0, 0, 0]
    votes[1] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
    return {"images": np.full((count, 48, 48), 128, np.uint8), "votes": votes}


class TestEmotion:
    def test_both_protocols_and_the_diagram(self, tmp_path: Path, repository: Path) -> None:
        np.savez(tmp_path / "own.npz", **faces())
        done = run(repository, "emotion", "--data", tmp_path / "own.npz", "--json", "--plot", tmp_path / "plot.svg")
        report = json.loads(done.stdout)
        assert (report["majority"]["n"], report["argmax"]["n"]) == (10, 11)
        assert report["majority"]["support"]["happiness"] == 10
        assert sum(map(sum, report["majority"]["confusion"])) == 10
        assert "own.npz" in (tmp_path / "plot.svg").read_text(encoding="utf-8")

    def test_a_missing_test_set_is_reported_in_one_line(self, tmp_path: Path, repository: Path) -> None:
        (tmp_path / "text.npz").write_text("no archive")
        np.savez(tmp_path / "large.npz", images=np.zeros((2, 64, 64), np.uint8), votes=np.zeros((2, 10)))
        np.savez(tmp_path / "other.npz", pictures=np.zeros(2))
        undecided = faces(2)
        np.savez(tmp_path / "undecided.npz", **undecided)
        for name in ("text.npz", "large.npz", "other.npz", "missing.npz", "undecided.npz"):
            with pytest.raises(MediaError, match=name):
                emotion.evaluate(tmp_path / name)
        done = run(repository, "emotion", "--data", tmp_path / "missing.npz")
        assert done.returncode == 2
        assert "'votes' [n, 10]" in done.stderr
        assert "Traceback" not in done.stderr


class TestBurst:
    def test_a_folder_by_label(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(burst, "ENGINES", ("own",))
        for label in ("cough", "sneeze"):
            for seed in range(4):
                samples = synthesize(label, np.random.default_rng(seed)).samples
                silence = np.zeros(RATE, np.float32)
                write_sound(tmp_path / label / f"{seed}.wav", np.concatenate([silence, samples, silence]))
        write_sound(tmp_path / "speech" / "hum.wav", 0.1 * np.sin(np.arange(18 * RATE) * 0.07))
        write_sound(tmp_path / "whistle" / "a.wav", np.zeros(RATE))
        report = burst.evaluate(tmp_path)
        assert report["ignored"] == ["whistle"]
        own = report["engines"]["own"]
        for kind in ("forced_choice", "forced_choice_among_present", "detected"):
            assert own[kind]["clips"] == {"cough": 4, "sneeze": 4}
            assert set(own[kind]["confusion"]) == {"cough", "sneeze"}
        assert set().union(*own["forced_choice_among_present"]["confusion"].values()) <= {"cough", "sneeze"}
        assert own["forced_choice_among_present"]["accuracy"] >= own["forced_choice"]["accuracy"] > 0.6
        assert own["false_events"]["all_labels"]["hours"] == {"speech": 0.005, "background": 0.0}
        assert set(own["false_events"]["all_labels"]["per_hour"]) == {"speech"}
        assert "| cough | 4 |" in burst.table(report)

    def test_a_missing_test_set_is_reported_in_one_line(self, tmp_path: Path, repository: Path) -> None:
        done = run(repository, "burst", "--data", tmp_path / "none")
        assert (done.returncode, "no such folder" in done.stderr) == (2, True)
        with pytest.raises(MediaError, match="no sound files in folders called laughter"):
            burst.evaluate(tmp_path)
        (tmp_path / "cough").mkdir()
        (tmp_path / "cough" / "broken.wav").write_bytes(b"RIFF nothing")
        with pytest.raises(MediaError, match=r"broken\.wav: no sound that can be decoded"):
            burst.evaluate(tmp_path)


def test_no_diagram_without_probabilities(tmp_path: Path, repository: Path, shared: Path) -> None:
    done = run(repository, "face", "--plot", tmp_path / "plot.svg")
    assert done.returncode == 2
    assert "nothing to plot" in done.stderr
    assert not (tmp_path / "plot.svg").exists()
