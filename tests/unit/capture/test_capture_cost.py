"""Cost of reading films and streams: memory, threads and conversions. Counted, as times differ from run to run."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture.media import iter_pictures
from edge_agent.domain.media import Frame, PixelFormat
from edge_agent.plugin import imaging
from tests.support.recordings import write

WIDTH, HEIGHT, COUNT = 640, 480, 240
PICTURE_MB = WIDTH * HEIGHT * 3 / 2 / 2**20


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose brightness and colours change, 24 pictures a second."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    tilted = [np.stack([x / 4, y / 3, (x + y) / 8 + n], axis=-1).clip(0, 255).astype(np.uint8) for n in range(10)]
    pictures = ((n / 24, tilted[n % 10]) for n in range(COUNT))
    return write(tmp_path_factory.mktemp("film") / "film.mp4", pictures, codec="mpeg4", fps=24)


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.usefixtures("no_garbage_collection")
def test_a_film_that_is_read_keeps_few_of_its_pictures(film: Path, live: bool) -> None:
    before = 0.0
    for n, picture in enumerate(iter_pictures(film, live=live)):
        assert picture.to_frame(picture.time, live=live) is not None
        if n == 30:
            before = resident_mb()
    # Each kept picture would add its size, until the garbage collector finds them.
    assert resident_mb() - before < 20 * PICTURE_MB


def test_converting_pictures_starts_no_threads(film: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from edge_agent.capture.media import iter_pictures\n"
        "before = len(os.listdir('/proc/self/task')); kept = []\n"
        "for picture in iter_pictures(Path(sys.argv[1]), live=True):\n"
        "    kept.append(picture.to_frame(0.0)); kept.append(picture)\n"
        "    if len(kept) == 40: break\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, film], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == 0


def test_live_pictures_keep_their_planes_and_look_the_same(film: Path) -> None:
    picture = next(iter(iter_pictures(film)))
    exact, live = picture.to_frame(1.5), picture.to_frame(1.5, live=True)
    assert exact is not None
    assert live is not None
    assert (exact.format, live.format) == (PixelFormat.BGR, PixelFormat.I420)
    assert (live.width, live.height, live.time, live.index) == (WIDTH, HEIGHT, 1.5, 0)

    def small(frame: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return imaging.letterbox_rgb(frame, 128)[0].astype(np.int64)

    assert np.abs(small(exact) - small(live)).mean() < 3


def test_a_live_camera_imports_no_decoder_of_films() -> None:
    program = (
        "import sys, edge_agent.cli.run, edge_agent.capture.cameras\n"
        "print([name for name in ('av', 'rich', 'uvicorn', 'fastapi', 'sklearn', 'asyncio') if name in sys.modules])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT__")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout.strip() == "[]"
