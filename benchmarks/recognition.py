"""Errors and cost of the recognition of enrolled people, and the visitors that re-identification saves.

    python -m benchmarks.recognition --facekit ../shared/data/facekit/ict_facekit.npz --media ../shared/media

``groups``: rendered people (ICT-FaceKit) in three thirds of skin tone, several looks each, in pairs of one person and
of different people of the same group: the share of false accepts and false rejects at the shipped threshold for one
look and for the mean of three, and the threshold with .1 % false accepts. Renders have the shape of a head and hardly
a skin: they show how groups differ, not how often real people are confused. ``media``: everybody found in the
recordings of a folder is enrolled from the first looks at their track, then all recordings are watched: wrong names
an hour. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.capture import iter_media
from edge_agent.domain.event import ARRIVAL
from edge_agent.domain.media import Frame
from edge_agent.domain.observation import IDENTITY, UNKNOWN_PERSON
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin import AnalyzerContext
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.plugin.spec import registered_analyzers
from edge_agent_identity import RecognitionSettings
from edge_agent_identity.analyzer import THRESHOLDS, IdentityAnalyzer
from edge_agent_identity.embedding import align, fitness, make_embedder
from training.emotion.faces import head as heads
from training.emotion.faces import paint, render

Vectors = npt.NDArray[np.float32]
THRESHOLD = THRESHOLDS["mobilefacenet"]
TONES = {"dark": (0.16, 0.39), "middle": (0.39, 0.62), "light": (0.62, 0.85)}
SIDE = 192
FPS = 5.0


class People:
    """A gallery of fixed templates."""

    def __init__(self, templates: dict[str, npt.NDArray[np.float32]]) -> None:
        self.version, self._templates = 1, templates

    def templates(self, _network: str) -> dict[str, npt.NDArray[np.float32]]:
        """The template of each person."""
        return self._templates


def context() -> AnalyzerContext:
    """With the models of this benchmark."""
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full", "mobilefacenet"])
    return AnalyzerContext(store)


def detector(models: AnalyzerContext) -> ActiveAnalyzer:
    """The face detector with its defaults for recordings."""
    import edge_agent_face

    (spec,) = registered_analyzers(edge_agent_face)
    return ActiveAnalyzer(spec, spec.factory(spec.settings(**spec.recorded), models), print)


def looks(head: heads.Head, tone: float, seed: int, count: int) -> Iterator[Frame]:
    """Pictures of one rendered person in different poses, lights and expressions."""
    rng = np.random.default_rng(seed)
    who = replace(paint.person(rng), tone=tone)
    shape = rng.normal(0, 0.85, render.IDENTITY).astype(np.float32)
    for number in range(count):
        grey = render.portrait(head, who, shape, np.random.default_rng((seed, number)), SIDE)
        wide = np.pad(grey, SIDE // 2, mode="edge")
        yield Frame.from_bgr(np.repeat(wide[..., None], 3, axis=2), float(number), number)


def groups(facekit: Path, persons: int, count: int) -> dict[str, Any]:
    """Errors of each group of tones."""
    models = context()
    eyes, embed, head = detector(models), make_embedder("mobilefacenet", models), heads.load(facekit)
    told: dict[str, Any] = {}
    for name, (low, high) in TONES.items():
        found: list[Vectors] = []
        for person in range(persons):
            tone = low + (high - low) * person / persons
            vectors = []
            for frame in looks(head, tone, 1000 * list(TONES).index(name) + person, count):
                faces = eyes.call(lambda a, f=frame: a.detect(f), ())
                if faces and fitness(faces[0], frame).fit:
                    vectors += embed([align(faces[0], frame)])
            if len(vectors) >= 4:
                found.append(np.stack(vectors))
        told[name] = errors(found)
    return told


def errors(found: list[Vectors]) -> dict[str, Any]:
    """Errors over people with several embeddings each; the first is enrolled, the others are looks."""
    templates = np.stack([vectors[0] for vectors in found])
    one, three, own, own_three = [], [], [], []
    for k, vectors in enumerate(found):
        alike = vectors[1:] @ templates.T
        mean = alike[:3].mean(0)
        others = np.arange(len(found)) != k
        one.append(alike[:, others].ravel())
        three.append(mean[others])
        own.append(alike[:, k])
        own_three.append(mean[k])
    wrong, wrong_three, right = np.concatenate(one), np.concatenate(three), np.concatenate(own)
    return {
        "people": len(found),
        "false_accepts_one_look": float((wrong >= THRESHOLD).mean()),
        "false_accepts_three_looks": float((wrong_three >= THRESHOLD).mean()),
        "false_rejects_one_look": float((right < THRESHOLD).mean()),
        "false_rejects_three_looks": float((np.array(own_three) < THRESHOLD).mean()),
        "threshold_at_0.1_percent": float(np.quantile(wrong, 0.999)),
    }


def media(folder: Path) -> dict[str, Any]:
    """Wrong names and visitors over every recording in ``folder``."""
    models = context()
    embed = make_embedder("mobilefacenet", models)
    films = sorted(path for path in folder.iterdir() if path.suffix in (".gif", ".mp4", ".mkv"))
    enrolled: dict[str, Vectors] = {}
    for film in films:
        seen: dict[str, list[Vectors]] = {}
        for frame, report in watched(film, [detector(models)]):
            for face in report.faces:
                if not face.coasting and fitness(face.face, frame, 40).fit and len(seen.get(face.track, [])) < 5:
                    seen.setdefault(face.track, []).extend(embed([align(face.face, frame)]))
        for number, vectors in enumerate(v for v in seen.values() if len(v) == 5):
            mean = np.mean(vectors, axis=0)
            enrolled[f"p_{film.stem}_{number}".replace("-", "_")] = np.asarray(mean / np.linalg.norm(mean), np.float32)
    told: dict[str, Any] = {"enrolled": len(enrolled), "films": {}}
    seconds = 0.0
    for film in films:
        names: dict[str, set[str]] = {}
        arrivals = {}
        for on in (False, True):
            active = [detector(models)]
            if on:
                analyzer = IdentityAnalyzer(RecognitionSettings(), replace(models, people=People(enrolled)))
                active.append(ActiveAnalyzer(identity_spec(), analyzer, print))
            arrivals[on] = 0
            for frame, report in watched(film, active):
                arrivals[on] += sum(event.kind == ARRIVAL for event in report.events)
                for o in report.observations:
                    if o.name == IDENTITY and o.track:
                        names.setdefault(o.track, set()).update(set(o.values) - {UNKNOWN_PERSON})
                last = frame.time
            if on:
                seconds += last
        told["films"][film.name] = {
            "arrivals": arrivals[False],
            "arrivals_with_reidentification": arrivals[True],
            "names": {track: sorted(found) for track, found in names.items() if found},
        }
    return told | {"minutes": round(seconds / 60, 1)}


def identity_spec() -> Any:
    """How the plugin registers itself."""
    import edge_agent_identity

    (spec,) = registered_analyzers(edge_agent_identity)
    return spec


def watched(film: Path, active: list[ActiveAnalyzer]) -> Iterator[tuple[Frame, Any]]:
    """Every look at a recording."""
    lane = VisionLane(active, Bounds.at(FPS))
    for item in iter_media(film):
        if isinstance(item, Frame) and (report := lane.offer(item)) is not None:
            yield item, report


def cost(runs: int = 50) -> dict[str, float]:
    """CPU milliseconds of one call with one and with two faces."""
    embed = make_embedder("mobilefacenet", context())
    picture = np.full((112, 112, 3), 128, np.uint8)
    told = {}
    for faces in (1, 2):
        embed([picture] * faces)
        began = process_time()
        for _ in range(runs):
            embed([picture] * faces)
        told[f"ms_{faces}"] = 1e3 * (process_time() - began) / runs
    return told


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facekit", type=Path)
    parser.add_argument("--media", type=Path)
    parser.add_argument("--people", type=int, default=40, help="rendered people of each group")
    arguments = parser.parse_args()
    told: dict[str, Any] = {"threshold": THRESHOLD, "cost": cost()}
    if arguments.facekit:
        told["groups"] = groups(arguments.facekit, arguments.people, 6)
    if arguments.media:
        told["media"] = media(arguments.media)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
