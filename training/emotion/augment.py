"""What a kiosk camera does to a face, as batch operations on tensors.

Geometry imitates the runtime's crop (detector box jitter, head roll, scale); the rest imitates light, optics and
transport: exposure, gamma, low light with noise, defocus and motion blur, JPEG, partial occlusion. Draws come from one
explicit pair of generators, so a seed reproduces a run.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn import functional as F


class Augment:
    """Callable: uint8 [n, 48, 48] tensor to float [n, 1, 48, 48] in [-1, 1]."""

    def __init__(self, seed: int) -> None:
        self._torch = torch.Generator().manual_seed(seed)
        self._numpy = np.random.default_rng(seed)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        x = self._jpeg(images)[:, None].float() / 127.5 - 1
        x = self._warp(x)
        x = self._some(x, 0.15, self._blur)
        x = self._light(x)
        x = self._some(x, 0.15, self._noise)
        return self._occlude(x)

    def shaded(self, x: torch.Tensor) -> torch.Tensor:
        """``x``, a third of them lit from one side: a hard or soft edge of shade across the face, at any angle."""
        n = len(x)
        ramp, angle = torch.linspace(-1, 1, x.shape[-1]), self._uniform(n, 0, 2 * np.pi)[:, None, None]
        across = 0.6 * (ramp[None, :, None] * angle.sin() + ramp[None, None, :] * angle.cos())
        edge = (across - self._uniform(n, -0.5, 0.5)[:, None, None]) * self._uniform(n, 1.5, 9)[:, None, None]
        deep = self._uniform(n, 0.2, 0.8) * (self._uniform(n, 0, 1) < 0.3)
        shade = 1 - deep[:, None, None] * torch.sigmoid(edge)
        return (x + 1) * shade[:, None] - 1

    def _uniform(self, n: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=self._torch) * (high - low) + low

    def _some(self, x: torch.Tensor, share: float, change) -> torch.Tensor:  # type: ignore[no-untyped-def]
        chosen = torch.rand(len(x), generator=self._torch) < share
        if chosen.any():
            x = x.clone()
            x[chosen] = change(x[chosen])
        return x

    def _jpeg(self, images: torch.Tensor) -> torch.Tensor:
        out = images.clone()
        for i in np.flatnonzero(self._numpy.random(len(images)) < 0.1):
            quality = int(self._numpy.integers(25, 80))
            _, coded = cv2.imencode(".jpg", out[i].numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
            out[i] = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
        return out

    def _warp(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        roll = self._uniform(n, -0.26, 0.26)
        scale = 1 + self._uniform(n, -0.15, 0.17)
        aspect = 1 + self._uniform(n, -0.05, 0.05)
        flip = torch.where(self._uniform(n, 0, 1) < 0.5, -1.0, 1.0)
        dx, dy = self._uniform(n, -0.16, 0.16), self._uniform(n, -0.16, 0.16)
        rows = (
            torch.stack([roll.cos() * scale * aspect * flip, -roll.sin() * scale, dx], 1),
            torch.stack([roll.sin() * scale * flip, roll.cos() * scale / aspect, dy], 1),
        )
        return warped(x, rows)

    def _blur(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(-2, 3).float()
        sigma = float(self._uniform(1, 0.4, 1.4))
        kernel = torch.exp(-(ramp**2) / (2 * sigma**2))
        kernel = torch.outer(kernel, kernel)
        if self._numpy.random() < 0.4:  # motion: a short streak at a random angle
            angle = self._numpy.uniform(0, np.pi)
            distance = torch.abs(-np.sin(angle) * ramp[:, None] + np.cos(angle) * ramp[None])
            kernel = (distance < 0.6).float()
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), (kernel / kernel.sum())[None, None])

    def _light(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        unit = (x + 1) / 2
        unit = unit.clamp(1e-4, 1) ** torch.exp(self._uniform(n, -0.35, 0.35)).view(-1, 1, 1, 1)
        gain = self._uniform(n, 0.7, 1.3).view(-1, 1, 1, 1)
        offset = self._uniform(n, -0.15, 0.15).view(-1, 1, 1, 1)
        return ((unit - 0.5) * gain + 0.5 + offset).clamp(0, 1) * 2 - 1

    def _noise(self, x: torch.Tensor) -> torch.Tensor:
        dark = self._uniform(len(x), 0.25, 1.0).view(-1, 1, 1, 1)
        noise = torch.randn(x.shape, generator=self._torch) * self._uniform(len(x), 0.02, 0.12).view(-1, 1, 1, 1)
        return (((x + 1) * dark - 1) + noise).clamp(-1, 1)

    def _occlude(self, x: torch.Tensor) -> torch.Tensor:
        n, side = len(x), x.shape[-1]
        size = self._uniform(2 * n, 6, 20).view(2, n)
        start = self._uniform(2 * n, 0, 1).view(2, n) * (side - size)
        at = torch.arange(side).float()[None]
        rows = (at >= start[0][:, None]) & (at < (start[0] + size[0])[:, None])
        columns = (at >= start[1][:, None]) & (at < (start[1] + size[1])[:, None])
        chosen = (torch.rand(n, generator=self._torch) < 0.35)[:, None, None]
        hole = (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]
        return torch.where(hole, self._uniform(n, -1, 1).view(-1, 1, 1, 1), x)


def nudged(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """``x``, float [n, 1, 48, 48], turned by up to 5 degrees, scaled by 6 % and moved by 1.5 pixels."""
    roll, scale, dx, dy = (torch.rand((4, len(x)), generator=generator) * 2 - 1) * torch.tensor(
        [[0.08], [0.06], [0.06], [0.06]]
    )
    cos, sin = roll.cos() * (1 + scale), roll.sin() * (1 + scale)
    return warped(x, (torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)))


def warped(x: torch.Tensor, rows: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """``x`` [n, 1, h, w] under affine maps, given as two rows [n, 3] each; what comes into view is the border's."""
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
