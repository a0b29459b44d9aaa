"""What the burst network learns from: labels, a teacher's opinion, and sounds without a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training only: pip install edge-emotion-agent[train]")
pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")
torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.burst import train  # noqa: E402 - torch comes first
from training.burst.corpus import CLASSES  # noqa: E402
from training.burst.dataset import Clip, Sampler  # noqa: E402
from training.burst.network import BurstNet  # noqa: E402

COUGH, SNEEZE = CLASSES.index("cough"), CLASSES.index("sneeze")


def clips() -> list[Clip]:
    """Two of each label and two without, told apart by the embedding."""
    rng = np.random.default_rng(0)
    count = len(CLASSES)
    return [
        Clip(
            rng.normal(-50, 10, (150, 64)).astype(np.float16),
            (rng.random((4, 1024)) + 3 * (np.arange(1024) % count == label)).astype(np.float16),
            np.ones(4, np.float32),
            np.full((4, count), 0.1, np.float16),
            label,
            False,
            1.0,
        )
        for label in (*range(-1, count), *range(-1, count))
    ]


def test_a_teacher_learns_the_labels_and_is_corrected_by_yamnet() -> None:
    batch = Sampler(clips(), 0, unlabelled=0.0).batch(200)
    teacher = train.fit_teacher(Sampler(clips(), 1, unlabelled=0.0), 500)
    embeddings = torch.from_numpy(batch.embeddings)
    with torch.no_grad():
        assert (teacher(embeddings).argmax(1).numpy() == batch.labels).mean() > 0.95
        of_cough = embeddings[batch.labels == COUGH]
        heard = torch.zeros(len(of_cough), len(CLASSES))
        plain = teacher.opinion(of_cough, heard)
        heard[:, SNEEZE] = 1.0
        corrected = teacher.opinion(of_cough, heard)
    torch.testing.assert_close(plain, teacher(of_cough).softmax(1).detach())
    assert (corrected[:, SNEEZE] > plain[:, SNEEZE]).all()
    torch.testing.assert_close(corrected.sum(1), torch.ones(len(of_cough)))


def test_a_sound_without_a_label_teaches_the_opinion_alone() -> None:
    logits, opinion = torch.randn(2, 11), torch.rand(2, 11).softmax(1)
    both = train._loss(logits, torch.tensor([COUGH, -1]), opinion, distil=0.0)
    alone = train._loss(logits[:1], torch.tensor([COUGH]), opinion[:1], distil=0.0)
    torch.testing.assert_close(both, alone)
    moved = train._loss(logits, torch.tensor([COUGH, -1]), opinion.flip(1), distil=0.5)
    assert moved != train._loss(logits, torch.tensor([COUGH, -1]), opinion, distil=0.5)


def test_a_network_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = train.fit_teacher(Sampler(clips(), 1, unlabelled=0.0), 500)
    plan = train.Plan(steps=100, batch=4, rate=1e-3, distil=0.7, embed=1.5, seed=0)
    net = train.train(Sampler(clips(), 0), teacher, plan, BurstNet(len(CLASSES)), tmp_path)
    assert (tmp_path / "weights.pt").exists()
    assert '"step": 100' in capsys.readouterr().out
    with torch.no_grad():
        logits, _ = net(torch.zeros(1, 1, 125, 64))
    assert torch.isfinite(logits).all()
