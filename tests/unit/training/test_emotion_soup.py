"""The mean of several students is a student, with batch norms that fit it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import soup  # noqa: E402 - torch comes first
from training.emotion.faceres import FaceRes  # noqa: E402
from training.emotion.network import EmotionNet  # noqa: E402
from training.emotion.weights import load_weights  # noqa: E402

COUNT = 40


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (COUNT, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def student(seed: int) -> EmotionNet:
    torch.manual_seed(seed)
    return EmotionNet()


def test_the_weights_are_the_mean() -> None:
    one, other = student(0), student(1)
    mean = soup.mixed([one, other])
    expected = (one.features[3].conv.weight + other.features[3].conv.weight) / 2
    torch.testing.assert_close(mean.features[3].conv.weight, expected)
    torch.testing.assert_close(mean.head.bias, (one.head.bias + other.head.bias) / 2)


def test_the_batch_norms_fit_what_comes_in(images: torch.Tensor) -> None:
    net = student(0).eval()
    soup.settle(net, images)
    assert not net.training
    with torch.inference_mode():
        views = torch.cat([soup.view(images, number) for number in range(soup.VIEWS)])
        out = net.features[0].norm(net.features[0].conv(views[:, None].float() / 127.5 - 1))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(32), atol=0.02, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(32), atol=0.05, rtol=0)
    again = student(0).eval()
    soup.settle(again, images)
    assert torch.equal(net.features[7].norm.running_var, again.features[7].norm.running_var)


def test_the_command_writes_a_student_and_refuses_teachers(
    images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = np.zeros((COUNT, 10), int)
    votes[np.arange(COUNT), np.arange(COUNT) % 8] = 9
    for split in ("train", "valid"):
        np.savez(tmp_path / f"ferplus_{split}.npz", images=images.numpy(), votes=votes)
    for seed in (0, 1):
        torch.save({"layout": "student", "state": student(seed).state_dict()}, tmp_path / f"{seed}.pt")
    torch.save({"layout": "faceres", "state": FaceRes().state_dict()}, tmp_path / "teacher.pt")
    command = f"soup --data {tmp_path} --out {tmp_path}/new/soup.pt --weights {tmp_path}/0.pt {tmp_path}/1.pt"
    monkeypatch.setattr(sys, "argv", command.split())
    soup.main()
    assert capsys.readouterr().out.count("majority") == 3
    written = load_weights(tmp_path / "new" / "soup.pt")
    torch.testing.assert_close(written.head.weight, soup.mixed([student(0), student(1)]).head.weight)
    monkeypatch.setattr(sys, "argv", [*command.split(), str(tmp_path / "teacher.pt")])
    with pytest.raises(SystemExit):
        soup.main()
    assert "teachers are not mixed" in capsys.readouterr().err
