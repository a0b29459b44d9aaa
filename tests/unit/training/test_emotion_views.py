"""A student sees the faces its teachers labelled, with their labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import views  # noqa: E402 - torch comes first
from training.emotion.network import LAYOUTS, EmotionNet  # noqa: E402
from training.emotion.scoring import predict  # noqa: E402

COUNT = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with both splits of FER+, of noise."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.1] * 10, COUNT)
    votes[:, 0] += 5
    for split in ("train", "valid"):
        images = rng.integers(0, 256, (COUNT, 48, 48), np.uint8)
        np.savez(tmp_path / f"ferplus_{split}.npz", images=images, votes=votes)
    return tmp_path


@pytest.fixture
def labels(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a teacher of chance says about three views."""
    torch.manual_seed(0)
    teacher, out = data / "weights.pt", data / "new" / "labels.npy"
    torch.save({"layout": "student", "state": EmotionNet(LAYOUTS["student"]).state_dict()}, teacher)
    command = f"views --data {data} --teacher {teacher} --views 3 --threads 1 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())
    views.main()
    return out


def images_of(data: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(data / "ferplus_train.npz")["images"])


def test_the_first_view_is_the_face_and_the_others_are_repeatable(data: Path) -> None:
    images = images_of(data)
    assert torch.equal(views.view(images, 0), images)
    first = views.view(images, 1)
    assert first.dtype == torch.uint8
    assert torch.equal(first, views.view(images, 1))
    assert not torch.equal(first, views.view(images, 2))


def test_the_labels_are_distributions_of_the_views(data: Path, labels: Path) -> None:
    written = np.load(labels)
    assert written.shape == (3, COUNT, 8)
    np.testing.assert_allclose(written.astype(float).sum(2), 1, atol=5e-3)
    net = EmotionNet(LAYOUTS["student"])
    net.load_state_dict(torch.load(data / "weights.pt", weights_only=True)["state"])
    logits = predict(net, views.view(images_of(data), 2).numpy())
    assert np.corrcoef(np.log(written[2].astype(float)).ravel(), torch.log_softmax(logits, 1).ravel())[0, 1] > 0.95


def test_a_batch_pairs_each_view_with_its_own_label(data: Path, labels: Path) -> None:
    images, votes = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8]
    batch = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6] * 8)
    faces, targets = views.Views(images, votes, [labels, labels], 0.75, seed=0)(batch)
    written = torch.from_numpy(np.load(labels).astype(np.float32))
    seen = [(faces[i, 0] + 1) * 127.5 for i in range(len(batch))]
    numbers, mirrored = set(), set()
    for face, target, index in zip(seen, targets, batch.tolist(), strict=True):
        known = [views.view(images, number)[index].float() for number in range(3)]
        ((number, flipped),) = [
            (k, f) for k in range(3) for f in (False, True) if torch.allclose(known[k].flip(1) if f else known[k], face)
        ]
        torch.testing.assert_close(target, 0.75 * written[number, index] + 0.25 * votes[index])
        numbers.add(number)
        mirrored.add(flipped)
    assert numbers == {0, 1, 2}
    assert mirrored == {False, True}


def test_labels_that_do_not_fit_are_refused(data: Path, labels: Path) -> None:
    images, votes, fewer = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8], data / "fewer.npy"
    np.save(fewer, np.load(labels)[:2])
    with pytest.raises(ValueError, match=r"fewer\.npy .* the same --views"):
        views.Views(images, votes, [labels, fewer], 0.75, seed=0)
    with pytest.raises(ValueError, match="label the same data"):
        views.Views(images[1:], votes[1:], [labels], 0.75, seed=0)
