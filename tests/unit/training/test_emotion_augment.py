"""What training does to faces: in range, reproducible, and close enough to the picture to keep its label."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion.augment import Augment  # noqa: E402 - torch comes first


@pytest.fixture(scope="module")
def faces():
    """Blurred noise: as smooth as pictures are."""
    coarse = torch.rand((64, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1)
    return (smooth[:, 0] * 255).to(torch.uint8)


def test_the_result_is_what_the_network_takes(faces) -> None:
    before = faces.clone()
    out = Augment(1)(faces)
    assert out.shape == (64, 1, 48, 48)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert out.min() >= -1
    assert out.max() <= 1
    assert torch.equal(faces, before), "the data set itself was changed"


def test_a_seed_reproduces_a_run_and_another_does_not(faces) -> None:
    one, same, other = Augment(1), Augment(1), Augment(2)
    first = one(faces)
    assert torch.equal(first, same(faces))
    assert torch.equal(one(faces), same(faces))
    assert not torch.equal(first, other(faces))
    assert not torch.equal(first, one(faces)), "every epoch must look different"


def test_every_picture_is_changed_and_most_are_still_recognisable(faces) -> None:
    plain = faces.float() / 127.5 - 1
    out = Augment(3, strength=0.0)(faces)[:, 0]
    best = [max(_likeness(a, b), _likeness(a, b.flip(-1))) for a, b in zip(plain, out, strict=True)]
    assert max(best) < 1
    assert np.median(best) > 0.8


def test_strength_scales_the_geometry(faces) -> None:
    straight = (faces.float() / 127.5 - 1)[:, None]
    moved = [(Augment(4, strength)._warp(straight) - straight).abs().mean() for strength in (0.1, 0.5, 1.0)]
    flipped = Augment(4, 0.0)._warp(straight)
    mirrored = straight.flip(-1)
    for was, mirror, now in zip(straight, mirrored, flipped, strict=True):
        assert torch.allclose(now, was, atol=1e-4) or torch.allclose(now, mirror, atol=1e-4)
    assert moved[0] < moved[1] < moved[2]


def _likeness(a, b) -> float:
    """Correlation of two pictures: brightness and contrast do not matter."""
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])
