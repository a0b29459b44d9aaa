r"""What teachers say about augmented faces, written down once, so that a student may learn from it for long.

    python -m training.emotion.views --data PATH --teacher runs/t/weights.pt --views 8 --out t.npy --features f.npy
    python -m training.emotion.train --data PATH --labels t.npy --features f.npy --epochs 60

A teacher says how it labels each face, and, if asked, what its last layer saw of it: that is far more than eight
numbers for a student to go by.

Each training face is seen in several views: as it is, then augmented anew for each. The same number and order always
give the same views, so the student sees exactly what the teachers saw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.emotion.augment import Augment, nudged
from training.emotion.dataset import load
from training.emotion.scoring import applied, fit_temperature, predict
from training.emotion.weights import load_weights
from training.precision import fast_bfloat16


def view(images: torch.Tensor, number: int) -> torch.Tensor:
    """View ``number`` of uint8 ``images`` [n, 48, 48], of the same kind; number 0 is the images themselves."""
    if number == 0:
        return images
    augment = Augment(number)
    faces = torch.cat([augment(part) for part in images.split(512)])[:, 0]
    return ((faces + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Views:
    """Callable: indices [n] to one view of each of these faces, with targets, and features where there are any.

    Faces are float [n, 1, 48, 48] in [-1, 1], mirrored and nudged at random, which changes no label. ``labels`` are
    files of :func:`main`; their mean makes ``alpha`` of the targets [n, 8] and the votes the rest. ``features`` are a
    teacher's of the same views, float16 [views, faces, width]; those of the batch are float32 [n, width].

    Raises:
        ValueError: a file is about other faces, or about another number of views.
    """

    def __init__(
        self,
        images: torch.Tensor,
        votes: torch.Tensor,
        labels: list[Path],
        alpha: float,
        seed: int,
        features: np.ndarray | None = None,
    ) -> None:
        said = [np.load(path).astype(np.float32) for path in labels]
        for path, one in zip(labels, said, strict=True):
            if one.shape != (len(said[0]), *votes.shape):
                raise ValueError(
                    f"{path} labels [views, faces, classes] {one.shape}, expected {(len(said[0]), *votes.shape)}: "
                    "label the same data with the same --views"
                )
        if features is not None and features.shape[:2] != said[0].shape[:2]:
            raise ValueError(
                f"the features are of [views, faces] {features.shape[:2]}, the labels of {said[0].shape[:2]}: "
                "write both with one call of training.emotion.views"
            )
        self._features = features
        self._labels = torch.from_numpy(np.mean(said, axis=0))
        self._views = torch.stack([view(images, number) for number in range(len(self._labels))])
        self._votes, self._alpha = votes, alpha
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        number = torch.randint(len(self._views), batch.shape, generator=self._generator)
        faces = self._views[number, batch]
        mirrored = torch.rand(batch.shape, generator=self._generator) < 0.5
        faces[mirrored] = faces[mirrored].flip(2)
        targets = self._alpha * self._labels[number, batch] + (1 - self._alpha) * self._votes[batch]
        said = (
            None if self._features is None else torch.from_numpy(self._features[number.numpy(), batch.numpy()]).float()
        )
        return nudged(faces[:, None].float() / 127.5 - 1, self._generator), targets, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--teacher", type=Path, required=True, help="weights.pt of training.emotion.train")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True, help=".npy: float16 [views, n, 8], calibrated")
    parser.add_argument(
        "--features", type=Path, help=".npy: also write what the last layer saw, float16 [views, n, width]"
    )
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = torch.from_numpy(load(args.data / "ferplus_train.npz").images)
    valid = load(args.data / "ferplus_valid.npz")
    teacher = load_weights(args.teacher)
    temperature = fit_temperature(predict(teacher, valid.images), torch.from_numpy(valid.targets))
    print(f"{args.teacher}: temperature {temperature:.3f}", flush=True)
    labels = np.empty((args.views, len(images), 8), np.float16)
    features = None
    if args.features:
        shape = (args.views, len(images), teacher.head.in_features)
        args.features.parent.mkdir(parents=True, exist_ok=True)
        features = np.lib.format.open_memmap(args.features, "w+", np.float16, shape)
    for number in range(args.views):
        seen = view(images, number).numpy()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            pooled = applied(teacher.pooled, seen).float()
        with torch.inference_mode():
            labels[number] = torch.softmax(teacher.head(pooled) / temperature, 1).numpy()
        if features is not None:
            features[number] = pooled.numpy()
        print(f"view {number + 1} of {args.views}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.save(args.out, labels)


if __name__ == "__main__":
    main()
