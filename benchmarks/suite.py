"""The whole benchmark suite: what the agent costs, as ratios to what one would run instead.

    python -m benchmarks.suite [--media FOLDER] [--peers VENV] [--rounds 3] [--only TEXT] [--out docs]

Every figure is taken in rounds that alternate between ours and the other, in processor time, and is the median of the
rounds' ratios: other load on the machine meets both. Peers (MediaPipe, Keras) get a virtual environment of their own,
made on demand; without one their figures are missing. Needs mosquitto. Writes ``performance.json``, the table in
``performance.md`` and ``performance.svg``; needs matplotlib for the latter. Takes minutes, on a
busy machine a quarter of an hour, and as long again to make the environment once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.suite_report import write_report
from edge_agent.analysis.lanes import VisionLane
from edge_agent.analysis.pacing import Bounds
from edge_agent.app import bench as pipeline
from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import iter_blocks, iter_media
from edge_agent.capture.media import iter_frames
from edge_agent.domain.media import Frame
from edge_agent.models import Catalogue, ModelStore, TfliteModel, cache_dir
from edge_agent.plugin import AnalyzerContext, imaging
from edge_agent.plugin.running import ActiveAnalyzer
from edge_agent.settings import ConfigText

PEERS = ("mediapipe==0.10.21", "tensorflow-cpu>=2.17,<2.18")
EVERY = Bounds.at(1e6)


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. ``ours`` and ``other`` in ``unit``; ``ratio`` is the median of the rounds' ratios of both; ``bar``:
    what it should not exceed (a ratio, or ``ours`` where there is no other)."""

    item: str
    name: str
    ours: float
    unit: str
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    bar: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the benchmarks share."""

    media: Path
    peers: Path
    rounds: int
    folder: Path
    store: ModelStore

    @property
    def film(self) -> Path:
        """The kiosk recording."""
        return self.media / "kiosk.mp4"


class Worker:
    """A process of :mod:`benchmarks.peers` that does one round when told."""

    def __init__(self, python: Path, *arguments: object) -> None:
        peers = Path(__file__).with_name("peers.py")
        self._process = subprocess.Popen(
            [python, peers, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer failed: {self._process.args}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def round(self) -> dict[str, Any]:
        """Do one round; its processor seconds and counts."""
        assert self._process.stdin is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def cpu(work: Callable[[], object]) -> float:
    """Processor seconds of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(item: str, name: str, unit: str, pairs: Sequence[tuple[float, float]], against: str, **more: Any) -> Figure:
    """A figure from pairs of ours and theirs, one for each round."""
    ours, other = median(a for a, _ in pairs), median(b for _, b in pairs)
    return Figure(item, name, ours, unit, against, other, median(a / b for a, b in pairs), **more)


def builder_of(text: str) -> PipelineBuilder:
    """A builder whose models are those of the cache."""
    config = ConfigText("benchmark", f'[models]\nauto_pull = false\ndir = "{cache_dir()}"\n{text}')
    return PipelineBuilder(config, config.settings())


# ---------------------------------------------------------------------- (a) faces


def faces(s: Setting) -> Iterator[Figure]:
    """The face stage against MediaPipe's Python API on the same pictures."""
    from edge_agent_face import FaceSettings
    from edge_agent_face.detector import BlazeFaceDetector

    frames = list(islice(iter_frames(s.film), 0, None, 6))
    detector = BlazeFaceDetector(FaceSettings(), AnalyzerContext(s.store))
    pictures = s.folder / "pictures.npy"
    np.save(pictures, np.stack([frame.data[:, :, ::-1] for frame in frames]))
    found = sum(any(face.score >= 0.5 for face in detector.detect(frame)) for frame in frames)
    peer, pairs, theirs = Worker(s.peers / "bin" / "python", "mediapipe", pictures), [], 0
    with closing(peer):
        for _ in range(s.rounds):
            told = peer.round()
            ours = cpu(lambda: [detector.detect(frame) for frame in frames])
            pairs.append((1e3 * ours / len(frames), 1e3 * told["cpu"] / len(frames)))
            theirs = told["found"]
    note = f"pictures with a face: ours {found / len(frames):.0%}, MediaPipe {theirs / len(frames):.0%}"
    yield ratio("a", "faces in a 640 x 480 picture", "ms", pairs, "MediaPipe FaceDetection", bar=0.6, note=note)


# ---------------------------------------------------------------------- (b), (c) overhead over the models


class Invokes:
    """Processor time of all model invocations in a ``with`` block."""

    def __enter__(self) -> Invokes:
        self.seconds, self._real = 0.0, TfliteModel.invoke

        def invoke(model: TfliteModel) -> None:
            began = time.thread_time()
            self._real(model)
            self.seconds += time.thread_time() - began

        TfliteModel.invoke = invoke  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        TfliteModel.invoke = self._real  # type: ignore[method-assign]


def overhead(s: Setting) -> Iterator[Figure]:
    """The lanes against the bare invocations of their models."""
    with closing(builder_of("")) as builder:
        builder.activate()
        frames, blocks = list(islice(iter_frames(s.film), 0, None, 4)), list(iter_blocks(s.film))
        seconds = sum(block.seconds for block in blocks)
        looks, sounds = [], []
        for _ in range(s.rounds):
            vision, audio = builder.lanes(EVERY)
            with Invokes() as models:
                spent = cpu(lambda: [vision.offer(frame) for frame in frames])  # noqa: B023 - called at once
            looks.append((1e3 * spent / len(frames), 1e3 * models.seconds / len(frames)))
            with Invokes() as models:
                spent = cpu(lambda: [audio.offer(block) for block in blocks])  # noqa: B023
            sounds.append((1e3 * spent / seconds, 1e3 * models.seconds / seconds))
    yield ratio("b", "analysed picture, all analyzers", "ms", looks, "invocations in it", bar=1.1)
    yield ratio("c", "second of sound", "ms", sounds, "invocations in it")
    if s.store.installed("yamnet"):
        network = TfliteModel(s.store.locate("yamnet"))
        window = np.zeros(15_600, np.float32)
        each = [1e3 * cpu(lambda: [network(window) for _ in range(20)]) / 20 / 0.48 for _ in sounds]
        pairs = [(ours, theirs) for (ours, _), theirs in zip(sounds, each, strict=True)]
        yield ratio("c", "second of sound", "ms", pairs, "YAMNet twice a second, invocations only")


# ---------------------------------------------------------------------- (d) delivery


def delivery(s: Setting) -> Iterator[Figure]:
    """Storing a window against SQLite's bare insert, and draining a day's backlog against bare paho."""
    from tests.support.drain import measure
    from tests.support.mosquitto import Mosquitto
    from tests.support.outboxes import make_outbox
    from tests.support.windows import summary_draft

    pairs = []
    for number in range(s.rounds):
        outbox = make_outbox(s.folder / f"outbox-{number}")
        drafts = iter([summary_draft(10.0 * k) for k in range(200)])
        ours = cpu(lambda: [outbox.put([draft]) for draft in drafts])  # noqa: B023
        outbox.close()
        with closing(sqlite3.connect(s.folder / f"raw-{number}.db", isolation_level=None)) as db:
            db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE items(id, payload)")
            theirs = cpu(lambda: [db.execute("INSERT INTO items VALUES(?, ?)", (k, "x" * 800)) for k in range(200)])
        pairs.append((1e6 * ours / 200, 1e6 * theirs / 200))
    yield ratio("d", "storing a window", "µs", pairs, "one insert and commit in SQLite")
    drains = []
    for number in range(s.rounds):
        folder = s.folder / f"drain-{number}"
        folder.mkdir()
        with Mosquitto(folder / "mosquitto") as broker:
            done = measure(folder, broker.port, 2_160, max_mb=64.0)
        drains.append((1e6 * done.cpu / done.rows, 1e6 * done.paho_cpu / done.rows))
    yield ratio("d", "sending a stored window", "µs", drains, "paho, from memory")


# ---------------------------------------------------------------------- (e) an hour of kiosk


def kiosk(s: Setting) -> Iterator[Figure]:
    """Everything the agent does on the kiosk recording against loops over every frame that only see."""
    strides = (3, 15)  # the frames in between are counted at the cost of these: Keras takes 60 ms for a face
    lean = Worker(
        Path(sys.executable), "lean", s.film, strides[0], s.store.locate("blazeface-short"), s.store.locate("emotion")
    )
    workers = [lean]
    if (s.peers / "bin" / "python").exists():
        workers.append(Worker(s.peers / "bin" / "python", "written", s.film, strides[1]))
    pairs: list[list[tuple[float, float]]] = [[] for _ in workers]
    with closing(builder_of("")) as builder:
        active = builder.activate()
        for _ in range(s.rounds):
            run = pipeline._Run(builder, active)  # the same pass as edge-agent bench
            ours = cpu(lambda: run.play(iter_media(s.film)))  # noqa: B023 - called at once
            for worker, own in zip(workers, pairs, strict=True):
                own.append((60 * ours, 60 * worker.round()["cpu"]))
    for worker in workers:
        worker.close()
    told = "decoding, faces, emotions, sound, windows and payloads; the other only sees"
    yield ratio("e", "hour of kiosk", "CPU s", pairs[0], "leanest LiteRT loop, every frame", bar=1.0, note=told)
    if len(pairs) > 1:
        yield ratio("e", "hour of kiosk", "CPU s", pairs[1], "MediaPipe + mini-XCEPTION in Keras", bar=1 / 8, note=told)


# ---------------------------------------------------------------------- (f) start, memory


def commands(s: Setting) -> Iterator[Figure]:
    """Processor time and memory of short commands."""
    python = sys.executable
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT__")}
    for name, bar, arguments in (
        ("edge-agent --version", 0.15, ["-m", "edge_agent", "--version"]),
        ("edge-agent --help", 0.15, ["-m", "edge_agent", "--help"]),
        ("edge-agent config check", 0.35, ["-m", "edge_agent", "config", "check"]),
        ("import edge_agent.api", 0.35, ["-c", "import edge_agent.api"]),
    ):
        spent = []
        for _ in range(max(5, s.rounds)):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([python, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        probe = [python, "-X", "importtime", *arguments]
        told = subprocess.run(probe, check=True, capture_output=True, text=True, env=environment).stderr
        note = f"least {min(spent):.2f}; {told.count('import time:') - 1} modules"
        yield Figure("f", name, median(spent), "CPU s", bar=bar, note=note)


AGENT = """
[device]
id = "bench"
state_dir = "{folder}/state"
trust_clock = true
[camera]
source = "{camera}"
loop = true
[microphone]
source = "{microphone}"
loop = true
[mqtt]
enabled = false
[models]
auto_pull = false
dir = "{models}"
[sinks.jsonl]
enabled = true
path = "{folder}/out.jsonl"
[web]
enabled = {web}
port = 0
token = "0123456789abcdef-benchmark"
"""


@contextmanager
def agent(s: Setting, camera: Path, microphone: str, *, web: bool = False) -> Iterator[tuple[int, Path, float]]:
    """A running agent: its process, the file of its messages, and when it was started."""
    with tempfile.TemporaryDirectory(dir=s.folder) as name:
        folder, config = Path(name), Path(name) / "config.toml"
        told = AGENT.format(
            folder=folder, camera=camera, microphone=microphone, models=cache_dir(), web=str(web).lower()
        )
        config.write_text(told.replace("port = 0\n", "port = 18437\n"))
        began = time.monotonic()
        command = [sys.executable, "-m", "edge_agent", "run", "-c", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            yield process.pid, folder / "out.jsonl", began
        finally:
            process.terminate()
            process.wait(30)


def status(pid: int, *names: str) -> list[int]:
    """Numbers of /proc/PID/status, added up over the threads where they are counted by thread."""
    found = []
    for name in names:
        files = Path(f"/proc/{pid}").glob("task/*/status") if "switches" in name else [Path(f"/proc/{pid}/status")]
        lines = (line for file in files for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
        found.append(sum(int(line.split()[1]) for line in lines))
    return found


def ticks(pid: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def running(s: Setting) -> Iterator[Figure]:
    """Start, and memory after 40 s, on the kiosk recording."""
    for web, bar in ((False, 120.0), (True, 140.0)):
        with agent(s, s.film, str(s.film), web=web) as (pid, messages, began):
            while not (messages.exists() and '"person_seconds"' in messages.read_text()):  # events come before
                time.sleep(0.1)
            first = time.monotonic() - began
            time.sleep(max(0.0, 40.0 - first))
            rss, threads = status(pid, "VmRSS", "Threads")
        name = "run, with the web side" if web else "run"
        yield Figure("f", f"{name}: memory", rss / 1024, "MB", bar=bar, note=f"{threads} threads")
        if not web:
            yield Figure("f", "start to first summary, windows of 10 s", first, "s", bar=12.0)


# ---------------------------------------------------------------------- (g) growth


def growth(s: Setting) -> Iterator[Figure]:
    """How cost grows with faces, size of the picture, and number of analyzers."""
    from skimage.data import astronaut

    face = astronaut()[0:220, 110:330, ::-1]
    with closing(builder_of("")) as builder:
        active = builder.activate()
        costs = {}
        for count in (1, 8):
            picture = np.full((480, 960, 3), 128, np.uint8)
            for n in range(count):
                row, column = divmod(n, 4)
                picture[row * 230 + 10 : row * 230 + 230, column * 235 + 5 : column * 235 + 225] = face
            costs[count] = _look_ms(builder.lanes(EVERY)[0], picture)
        yield _grown("faces in view, 1 to 8", costs[1], costs[8], "ms")
        sizes = {}
        for width, height in ((426, 320), (1920, 1080)):
            frame = next(iter_frames(s.film))
            data = imaging.cv2.resize(frame.data, (width, height))
            sizes[height] = _look_ms(builder.lanes(EVERY)[0], data)
        yield _grown("height of the picture, 320 to 1080", sizes[320], sizes[1080], "ms")
        scene = next(a for a in active if a.spec.name == "camera_quality")
        face_only = [a for a in active if a.spec.name == "face"]
        counts = {n: _look_ms(VisionLane([*face_only, *_copies(scene, n)], EVERY), data) for n in (1, 8)}
        yield _grown("analyzers of the scene, 1 to 8", counts[1], counts[8], "ms")


def _copies(active: ActiveAnalyzer, count: int) -> list[ActiveAnalyzer]:
    analyzer = active._analyzer
    assert analyzer is not None
    spec = replace(active.spec, max_fps=None)  # else it would be asked every other second only
    return [ActiveAnalyzer(spec, analyzer, lambda _: None) for _ in range(count)]


def _look_ms(lane: VisionLane, picture: Any) -> float:
    frames = [Frame.from_bgr(picture, n / 10, n) for n in range(30)]
    for frame in frames[:10]:
        lane.offer(frame)
    return 1e3 * cpu(lambda: [lane.offer(frame) for frame in frames[10:]]) / 20


def _grown(name: str, small: float, large: float, unit: str) -> Figure:
    return Figure("g", name, large, unit, "the smaller", small, large / small)


def backlog(s: Setting) -> Iterator[Figure]:
    """Storing one more window with an hour and with thirty days of them waiting."""
    from tests.support.outboxes import make_outbox
    from tests.support.windows import summary_draft

    costs = {}
    for windows in (360, 259_200):
        outbox = make_outbox(s.folder / f"backlog-{windows}", max_mb=512.0)
        for k in range(0, windows, 360):
            outbox.put([summary_draft(10.0 * i) for i in range(k, min(k + 360, windows))])
        more = iter([summary_draft(10.0 * (windows + k)) for k in range(100)])
        costs[windows] = 1e6 * cpu(lambda: [outbox.put([draft]) for draft in more]) / 100  # noqa: B023
        outbox.close()
    yield _grown("backlog, 1 hour to 30 days: storing a window", costs[360], costs[259_200], "µs")


# ---------------------------------------------------------------------- (h) empty room


def empty_room(s: Setting) -> Iterator[Figure]:
    """Wake-ups and processor time where nothing happens: a film of an empty room, 15 pictures a second, decoded too."""
    from tests.support.recordings import write

    picture = next(frame for frame in iter_frames(s.film) if frame.time > 2.0)
    still = picture.data[:, :, ::-1].copy()
    room = write(s.folder / "room.mp4", ((n / 15, still) for n in range(150)), fps=15)
    with agent(s, room, "none") as (pid, messages, _):
        while not (messages.exists() and messages.read_text()):
            time.sleep(0.2)
        (before,), spent, began = status(pid, "voluntary_ctxt_switches"), ticks(pid), time.monotonic()
        time.sleep(20.0)
        (after,), elapsed = status(pid, "voluntary_ctxt_switches"), time.monotonic() - began
        share = (ticks(pid) - spent) / elapsed
    yield Figure("h", "empty room: wake-ups", (after - before) / elapsed, "a second", bar=40.0)
    yield Figure("h", "empty room: processor", 100 * share, "% of a core", bar=1.0)


# ---------------------------------------------------------------------- (i) stream clients


def clients(_: Setting) -> Iterator[Figure]:
    """Sixteen clients that send pictures, and a hundred that listen, on one agent."""
    import asyncio
    from statistics import quantiles

    from benchmarks.web_sockets import a_picture, an_agent, crowd, share_pictures

    with an_agent(1.0) as (port, _process):
        fair = asyncio.run(share_pictures(port, 16, 15.0, a_picture()))
        few, many = (asyncio.run(crowd(port, count, 8.0)) for count in (1, 100))
    yield Figure("i", "16 clients: least served", fair.least, "of the mean", note=f"best served {fair.best:.2f}")
    yield Figure("i", "16 clients: 95th percentile of the wait", fair.p95, "of the median", bar=2.0)
    ages = [sorted(1e3 * age for one in heard for age in one.ages) for heard in (few, many)]
    late = [quantiles(age, n=20)[18] if len(age) > 1 else age[0] for age in ages if age]
    if len(late) == 2:
        yield _grown("listeners, 1 to 100: 95th percentile of a message's age", late[0], late[1], "ms")


ITEMS: tuple[Callable[[Setting], Iterator[Figure]], ...] = (
    faces, overhead, delivery, kiosk, commands, running, growth, backlog, empty_room, clients,
)  # fmt: skip


def make_peers(folder: Path) -> bool:
    """Make the environment of the peers; return whether it is usable."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} with {', '.join(PEERS)}: some minutes and 2 GB", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=False)
        if done.returncode:
            print("the peers cannot be installed here: their figures are missing")
    return subprocess.run([python, "-c", "import mediapipe"], check=False, capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=Path("../shared/media"), help="folder with kiosk.mp4")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="environment of the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="functions whose names hold this text")
    parser.add_argument("--out", type=Path, help="folder of performance.md; default: print only")
    options = parser.parse_args()
    if not (options.media / "kiosk.mp4").exists():
        raise SystemExit(f"{options.media}/kiosk.mp4 is not there: give the folder of the recordings with --media")
    chosen = [item for item in ITEMS if options.only in item.__name__]
    if not make_peers(options.peers):
        chosen = [item for item in chosen if item is not faces]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(cache_dir(), Catalogue.load())
        setting = Setting(options.media, options.peers, options.rounds, Path(folder), store)
        for item in chosen:
            for figure in item(setting):
                figures.append(figure)
                print(json.dumps(asdict(figure), ensure_ascii=False), flush=True)
    if options.out is not None:
        write_report(options.out, [asdict(figure) for figure in figures])


if __name__ == "__main__":
    main()
