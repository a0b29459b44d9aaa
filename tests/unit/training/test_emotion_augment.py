"""What training does to faces: in range, reproducible, and close enough to the picture to keep its label."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import augment  # noqa: E402 - torch comes first
from training.emotion.augment import Augment  # noqa: E402


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


def test_every_picture_is_changed_and_most_are_still_recognisable(faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "warped", lambda x, rows: x)
    plain = faces.float() / 127.5 - 1
    out = Augment(3)(faces)[:, 0]
    like = [_likeness(a, b) for a, b in zip(plain, out, strict=True)]
    assert max(like) < 1
    assert np.median(like) > 0.8


def test_a_map_that_changes_nothing_gives_the_picture_and_one_with_a_sign_its_mirror_image(faces) -> None:
    straight = (faces.float() / 127.5 - 1)[:, None]
    one, none = torch.ones(len(faces)), torch.zeros(len(faces))
    down = torch.stack([none, one, none], 1)
    same, mirrored = (augment.warped(straight, (torch.stack([sign, none, none], 1), down)) for sign in (one, -one))
    torch.testing.assert_close(same, straight, atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored, straight.flip(-1), atol=1e-4, rtol=0)


def test_a_nudge_moves_a_picture_less_than_the_camera_does(faces) -> None:
    straight = (faces.float() / 127.5 - 1)[:, None]
    nudged = augment.nudged(straight, torch.Generator().manual_seed(0))
    camera = Augment(4)._warp(straight)
    assert (nudged != straight).flatten(1).any(1).all()
    assert np.median([_likeness(a, b) for a, b in zip(nudged, straight, strict=True)]) > 0.8
    assert (nudged - straight).abs().mean() < 0.7 * (camera - straight).abs().mean()


def _likeness(a, b) -> float:
    """Correlation of two pictures: brightness and contrast do not matter."""
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])
