"""Tuning changes all layers but the first ones, on photographs and made faces, and writes the mean with the start."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import tune  # noqa: E402 - torch comes first
from training.emotion.augment import Augment  # noqa: E402
from training.emotion.network import EmotionNet  # noqa: E402
from training.emotion.train import Renders  # noqa: E402
from training.emotion.weights import load_weights  # noqa: E402

COUNT = 48


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 48, 48), np.uint8)
    labels = np.arange(COUNT) % 8
    votes = np.zeros((COUNT, 10), int)
    votes[np.arange(COUNT), labels] = 9
    for split in ("train", "valid"):
        np.savez(tmp_path / f"ferplus_{split}.npz", images=images, votes=votes)
    np.savez(tmp_path / "faces.npz", images=images, targets=np.eye(8, dtype=np.float32)[labels], labels=labels)
    torch.manual_seed(0)
    torch.save({"layout": "student", "state": EmotionNet().state_dict()}, tmp_path / "start.pt")
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> EmotionNet:
    command = f"tune --data {folder} --start {folder}/start.pt --renders {folder}/faces.npz --check {folder}/faces.npz"
    command += f" --out {folder}/new/tuned.pt --steps 3 --batch 16 --rate 0.01 --cycles 1"
    monkeypatch.setattr(sys, "argv", [*command.split(), *options])
    tune.main()
    net = load_weights(folder / "new" / "tuned.pt")
    assert isinstance(net, EmotionNet)
    return net


def changed(net: EmotionNet, folder: Path) -> set[str]:
    before = load_weights(folder / "start.pt").state_dict()
    return {name for name, now in net.state_dict().items() if not torch.equal(now, before[name])}


def test_all_layers_but_the_first_learn_and_batch_norms_keep_their_statistics(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = changed(run(folder, monkeypatch, "--kept", "1"), folder)
    assert {"head.weight", "head.bias"} <= names
    assert {f"features.{k}.{part}" for k in range(tune.FROZEN, 8) for part in ("conv.weight", "norm.bias")} <= names
    assert not [name for name in names if name.startswith(tuple(f"features.{k}." for k in range(tune.FROZEN)))]
    assert not [name for name in names if "running" in name]
    rows = [line for line in capsys.readouterr().out.splitlines() if '"between"' in line]
    assert [float(row.split()[0]) for row in rows] == list(tune.MEANS)
    assert '"faces, by class"' in rows[0]


def test_none_of_it_kept_is_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed(run(folder, monkeypatch, "--kept", "0"), folder) == set()


def test_acted_faces_join_and_change_what_is_learned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = changed(run(folder, monkeypatch, "--kept", "1", "--acted", f"{folder}/faces.npz", "--cycles", "2"), folder)
    assert {"head.weight", "features.7.conv.weight"} <= names


def test_the_loss_knows_how_often_classes_are_drawn() -> None:
    targets, prior = torch.eye(8).repeat(3, 1), np.full(8, 0.125)
    oftener = torch.ones(24, dtype=torch.float64)
    oftener[::8] = 9.0
    seen = tune.Source.of(torch.zeros(24, 48, 48), targets, oftener, prior, 1.0)
    assert seen.offset[0] == pytest.approx(np.log(9 / 16 / 0.125), abs=1e-5)
    assert seen.offset[1:] == pytest.approx(torch.full((7,), float(np.log(1 / 16 / 0.125))), abs=1e-5)
    _, drawn, offset = seen.some(4000, torch.Generator().manual_seed(0))
    assert drawn[:, 0].mean() == pytest.approx(9 / 16, abs=0.03)
    assert offset.shape == (4000, 8)


def test_rendered_faces_join_a_batch_of_training(folder: Path) -> None:
    renders = Renders([folder / "faces.npz", folder / "faces.npz"], seed=0)
    faces, targets = renders(10)
    assert faces.shape == (10, 1, 48, 48)
    assert faces.min() >= -1
    assert faces.max() <= 1
    torch.testing.assert_close(targets.sum(1), torch.ones(10))
    again = Renders([folder / "faces.npz", folder / "faces.npz"], seed=0)(10)
    assert torch.equal(faces, again[0])


def test_folded_and_unfolded_layers_compute_what_the_network_does() -> None:
    torch.manual_seed(1)
    net = EmotionNet().eval()
    for block in net.features:
        block.norm.running_mean.normal_(0, 0.1)
        block.norm.weight.data.uniform_(0.5, 1.5)
    images = torch.rand(5, 1, 48, 48) * 2 - 1
    learner = tune.Learner(net)
    with torch.inference_mode():
        torch.testing.assert_close(learner(images), net(images), atol=1e-4, rtol=1e-3)
    learner.biases[0].data += 0.1
    with torch.inference_mode():
        torch.testing.assert_close(learner.unfolded(net)(images), learner(images), atol=1e-4, rtol=1e-3)


def test_light_from_one_side_darkens_some_faces_on_one_side() -> None:
    x = torch.ones(300, 1, 48, 48)
    shaded = Augment(0).shaded(x)
    touched = (shaded < 0.99).flatten(1).any(1)
    assert 0.2 < touched.float().mean() < 0.4
    assert shaded.min() >= -1
    assert (shaded <= x).all()
