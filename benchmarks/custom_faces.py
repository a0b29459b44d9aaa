"""How well a custom model of faces does on people it has not seen, on real photographs and on rendered heads.

    python -m benchmarks.custom_faces --ferplus ../shared/data/ferplus/ferplus_valid.npz \\
        --facekit ../shared/data/facekit/ict_facekit.npz [--labels happiness,anger,surprise] [--each 20]

Trains ``edge-agent custom`` on so many pictures of each label. Every picture is of another person: the photographs of
FER+ (validation part; the labels are those that at least seven of ten people voted for) have no names, and hardly any
two are of one person; a rendered head is a person of its own. So the printed score is of people unseen. It flatters:
the emotion network, on which the vectors rest, was trained on other pictures of both kinds with the same labels.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.api import CustomModels, MediaError
from edge_agent.domain.observation import EMOTIONS

Picture = npt.NDArray[np.uint8]


def photographs(path: Path, label: str) -> Iterator[Picture]:
    """Pictures of FER+ on whose label most agree."""
    with np.load(path) as data:
        images, votes = data["images"], data["votes"]
    agreed = votes[:, EMOTIONS.index(label)] >= 7
    yield from images[np.flatnonzero(agreed)]


def heads(path: Path, label: str) -> Iterator[Picture]:
    """Rendered heads that make the face ``label``."""
    from training.emotion.faces.head import load
    from training.emotion.faces.render import rendered

    head, random = load(path), np.random.default_rng([9, EMOTIONS.index(label)])
    while True:
        yield rendered(head, label, random, 160).image


def framed(picture: Picture) -> Picture:
    """The picture on grey, so large that the face is one among other things."""
    large = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((320, 320), 128, np.uint8)
    canvas[80:240, 80:240] = large
    return canvas


def score(name: str, kind: str, source: Iterator[tuple[str, Picture]], models: CustomModels, folder: Path) -> str:
    """Train on pictures by label, and tell how it did on people unseen; a line of the table."""
    lines = ["file,label,source"]
    for number, (label, picture) in enumerate(source):
        path = folder / f"{name}-{number}.png"
        cv2.imwrite(str(path), framed(picture))
        lines.append(f"{path.name},{label},person{number}")
    table = folder / f"{name}.csv"
    while True:
        table.write_text("\n".join(lines) + "\n")
        try:
            scores = models.train(name, table, keep=True).about.scores
            break
        except MediaError as error:  # no face is found in some of them
            without = {
                int(line.rpartition("line ")[2].partition(":")[0])
                for line in str(error).splitlines()
                if "line " in line
            }
            lines = [line for number, line in enumerate(lines, 1) if number not in without]
    return (
        f"| {kind} | {scores.examples} | {scores.score:.2f} | {scores.low:.2f} | {scores.baseline:.2f} "
        f"| {'yes' if scores.good else 'no'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--facekit", type=Path)
    parser.add_argument("--labels", default="happiness,anger,surprise")
    parser.add_argument("--each", type=int, default=20)
    options = parser.parse_args()
    labels = options.labels.split(",")

    def some(pictures: Iterator[Picture]) -> list[Picture]:
        return [picture for _, picture in zip(range(options.each), pictures, strict=False)]

    print("| faces | examples | balanced accuracy | 5th percentile | baseline | good |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "config.toml").write_text(f'[device]\nstate_dir = "{folder / "state"}"\n')
        models = CustomModels(folder / "config.toml")
        for name, kind, path, of in (
            ("photographs", "photographs (FER+)", options.ferplus, photographs),
            ("heads", "rendered heads", options.facekit, heads),
        ):
            if path is not None:
                pairs = ((label, picture) for label in labels for picture in some(of(path, label)))
                print(score(name, kind, pairs, models, folder), flush=True)


if __name__ == "__main__":
    main()
