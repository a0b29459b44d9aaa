"""A student sees the faces its teachers labelled, with their labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import train, views  # noqa: E402 - torch comes first
from training.emotion.network import EmotionNet  # noqa: E402
from training.emotion.scoring import predict  # noqa: E402
from training.emotion.train import Matcher  # noqa: E402
from training.emotion.weights import load_weights  # noqa: E402

COUNT = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with both splits of FER+, of noise."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.1] * 10, COUNT)
    votes[np.arange(COUNT), np.arange(COUNT) % 8] += 9
    for split in ("train", "valid"):
        images = rng.integers(0, 256, (COUNT, 48, 48), np.uint8)
        np.savez(tmp_path / f"ferplus_{split}.npz", images=images, votes=votes)
    return tmp_path


@pytest.fixture
def labels(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a teacher of chance says about three views; what it saw in them is beside that."""
    torch.manual_seed(0)
    teacher, out = data / "weights.pt", data / "new" / "labels.npy"
    torch.save({"layout": "student", "state": EmotionNet().state_dict()}, teacher)
    command = f"views --data {data} --teacher {teacher} --views 3 --threads 1 --out {out}"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--features", str(out.with_name("features.npy"))])
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
    net = EmotionNet()
    net.load_state_dict(torch.load(data / "weights.pt", weights_only=True)["state"])
    logits = predict(net, views.view(images_of(data), 2).numpy())
    assert np.corrcoef(np.log(written[2].astype(float)).ravel(), torch.log_softmax(logits, 1).ravel())[0, 1] > 0.95


def test_a_batch_pairs_each_view_with_its_own_label(data: Path, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "nudged", lambda faces, generator: faces)
    images, votes = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8]
    batch = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6] * 8)
    faces, targets, said = views.Views(images, votes, [labels, labels], 0.75, seed=0)(batch)
    assert said is None
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


def test_the_faces_of_a_batch_are_nudged(data: Path, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, votes = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8]
    batch = torch.arange(COUNT)
    nudged, targets, _ = views.Views(images, votes, [labels], 0.75, seed=0)(batch)
    monkeypatch.setattr(views, "nudged", lambda faces, generator: faces)
    still, same, _ = views.Views(images, votes, [labels], 0.75, seed=0)(batch)
    assert torch.equal(targets, same)
    assert (nudged != still).flatten(1).any(1).all()


def test_the_features_are_what_the_teachers_labels_are_made_of(data: Path, labels: Path) -> None:
    features = np.load(labels.with_name("features.npy"))
    assert features.shape == (3, COUNT, 224)
    assert features.dtype == np.float16
    net = load_weights(data / "weights.pt")
    with torch.inference_mode():
        logits = net.head(torch.from_numpy(features[1].astype(np.float32)))
    written = np.load(labels)[1].astype(float)
    assert np.corrcoef(np.log(written).ravel(), torch.log_softmax(logits, 1).ravel())[0, 1] > 0.95


def test_a_batch_has_the_features_of_its_views(data: Path) -> None:
    images, votes = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8]
    labels = np.random.default_rng(0).dirichlet(np.ones(8), (3, COUNT)).astype(np.float16)
    np.save(data / "random.npy", labels)
    features = np.arange(3 * COUNT, dtype=np.float16).reshape(3, COUNT, 1)
    batch = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6] * 8)
    _, targets, said = views.Views(images, votes, [data / "random.npy"], 1.0, seed=0, features=features)(batch)
    assert said is not None
    for target, one, index in zip(targets.numpy(), said.numpy(), batch.tolist(), strict=True):
        number = int(np.abs(labels[:, index] - target).sum(1).argmin())
        assert one.tolist() == [number * COUNT + index]


def test_features_of_other_views_are_refused(data: Path, labels: Path) -> None:
    images, votes = images_of(data), torch.eye(8)[torch.arange(COUNT) % 8]
    with pytest.raises(ValueError, match="write both with one call"):
        views.Views(images, votes, [labels], 0.75, seed=0, features=np.zeros((2, COUNT, 224), np.float16))


def test_a_student_comes_nearer_to_what_its_teacher_saw() -> None:
    torch.manual_seed(0)
    pooled = torch.rand(400, 6)
    seen = (pooled @ torch.randn(6, 10) + 3).half()
    matcher = Matcher(6, seen.numpy()[None].repeat(2, axis=0))
    said = seen.float()
    assert matcher(torch.zeros(400, 6), said).item() == pytest.approx(1, abs=0.2)
    optimizer = torch.optim.Adam(matcher.parameters(), 0.05)
    for _ in range(300):
        loss = matcher(pooled, said)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_a_student_learns_from_labels_and_features(data: Path, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = data / "run"
    command = f"train --data {data} --out {out} --epochs 2 --batch 20 --labels {labels} --threads 1"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--features", str(labels.with_name("features.npy"))])
    train.main()
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()
    net = load_weights(out / "weights.pt")
    assert predict(net, images_of(data).numpy()).shape == (COUNT, 8)
    monkeypatch.setattr(sys, "argv", [*command.split()[:-4], "--features", "f.npy"])
    with pytest.raises(SystemExit):
        train.main()
