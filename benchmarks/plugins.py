"""Memory and processor time of each analyzer on its own: a table for docs/hardware.md.

    python -m benchmarks.plugins [NAME...]

Each analyzer runs in a process of its own, on what it is for: a portrait 200 times (scikit-image's astronaut), 60 s
of a novel that is read (in the wheel of Moonshine), or a sentence 500 times. ``mb``: resident memory that it adds to
a process with the runtime loaded, its children included; ``cpu``: seconds of processor time for each second of sound,
or milliseconds for each look or sentence. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain.face import Face, TrackedFace
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame
from edge_agent.domain.speech import Utterance
from edge_agent.models import Catalogue, ModelStore, cache_dir
from edge_agent.plugin import AnalyzerContext, Kind
from edge_agent.plugin.spec import AnalyzerSpec, registered_analyzers

NAMES = ("face", "emotion", "attention", "gaze", "identity", "quality", "burst", "voice", "speech", "language")
SENTENCE = "I am so happy that you came, thank you very much for all of this."
SECONDS = 60


def spec_of(name: str) -> AnalyzerSpec:
    """The analyzer that the plugin ``name`` registers first."""
    (entry,) = importlib.metadata.entry_points(group="edge_agent", name=name)
    return registered_analyzers(entry.load())[0]


def made(spec: AnalyzerSpec, context: AnalyzerContext) -> Any:
    """The analyzer with its defaults, switched on."""
    analyzer = spec.factory(spec.settings.model_validate({"enabled": True}), context)
    analyzer.self_check()
    return analyzer


def resident() -> float:
    """Megabytes in use by this process."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def portrait() -> Frame:
    """A person before a camera, 640x480."""
    from skimage import data

    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 64:576] = data.astronaut()[:480, :, ::-1]
    return Frame.from_bgr(image, 0.0, 0)


def reading() -> npt.NDArray[np.float32]:
    """A minute of a novel."""
    from edge_agent.capture.media import iter_blocks

    (file,) = [f for f in importlib.metadata.files("moonshine-voice") or () if f.name == "two_cities.wav"]
    samples = np.concatenate([block.samples for block in iter_blocks(Path(str(file.locate())))])
    return np.resize(samples, SECONDS * AUDIO_RATE)


def steps(spec: AnalyzerSpec, analyzer: Any, faces: list[Face]) -> tuple[int, float, Callable[[int], object]]:
    """How many steps, how many of them make the unit of ``cpu``, and one step."""
    if spec.kind in (Kind.AUDIO, Kind.SPEECH):
        sound, size = reading(), AUDIO_RATE // 10
        return SECONDS * 10, 10.0, lambda k: analyzer.analyze(AudioBlock(sound[k * size : (k + 1) * size], k / 10))
    if spec.kind is Kind.TEXT:
        return 500, 1.0, lambda _k: analyzer.analyze(Utterance(SENTENCE))
    picture = portrait()

    def look(k: int) -> object:
        frame = Frame.from_bgr(picture.data, float(k), k)
        if spec.kind is Kind.DETECTOR:
            return analyzer.detect(frame)
        # Somebody new each time: what is known already is not looked at again.
        tracked = [TrackedFace(f"t{k}", face, float(k)) for face in faces]
        return analyzer.analyze(frame, tracked) if spec.kind is Kind.FACE else analyzer.analyze(frame)

    return 200, 1.0, look


def measure(name: str) -> dict[str, Any]:
    """Figures of one analyzer in this process."""
    # What analyzers share is loaded before, as it is in an agent.
    import ai_edge_litert.interpreter  # noqa: F401

    from edge_agent.models.tflite import TfliteModel  # noqa: F401
    from edge_agent.plugin import imaging, sound  # noqa: F401

    context = AnalyzerContext(ModelStore(cache_dir(), Catalogue.load()))
    spec = spec_of(name)
    faces: list[Face] = []
    if spec.kind is Kind.FACE:
        detector = made(spec_of("face"), context)
        faces = list(detector.detect(portrait()))[:1]
    before = resident()
    analyzer = made(spec, context)
    count, unit, step = steps(spec, analyzer, faces)
    step(0)
    began = process_time()
    for k in range(1, count):
        step(k)
    cpu = (process_time() - began) / (count - 1) * unit
    timed = {"ms_each": round(cpu * 1e3, 2)} if unit == 1 else {"cpu_per_second": round(cpu, 4)}
    return {"name": name, "mb": round(resident() - before, 1), **timed}


def main() -> None:
    """Measure the analyzers that are named, each in its own process."""
    parser = argparse.ArgumentParser(description="Memory and processor time of each analyzer.")
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--here", action="store_true", help="measure the one name in this process")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.names[0])))
        return
    for name in arguments.names:
        subprocess.run([sys.executable, "-m", "benchmarks.plugins", "--here", name], check=False)


if __name__ == "__main__":
    main()
