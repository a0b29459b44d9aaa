"""Hume's batch API over a real queue, with a worker that works when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hume import AsyncHumeClient, HumeClient
from hume.environment import HumeClientEnvironment
from PIL import Image
from skimage import data as pictures
from starlette.routing import BaseRoute

from edge_agent.api import CustomModels
from edge_agent.batch.analysis import Analyser
from edge_agent.batch.queue import LocalQueue
from edge_agent.batch.worker import Worker
from edge_agent.models import ModelStore
from edge_agent.settings import BatchSettings
from edge_agent.web import batch
from tests.support.recordings import write
from tests.support.web import Server

LIMITS = BatchSettings(enabled=True, max_file_mb=2.0, max_files=5)


class Service:
    """The routes over a queue, and a worker that works when it is told to."""

    def __init__(
        self,
        folder: Path,
        limits: BatchSettings = LIMITS,
        open_custom: Callable[[], CustomModels] = CustomModels,
        more: Sequence[BaseRoute] = (),
    ) -> None:
        self.queue = LocalQueue(folder, limits)
        self.server = Server([*batch.routes(limits, lambda: self.queue, folder, open_custom), *more])
        self.worker = Worker(self.queue, Analyser(limits, open_custom=open_custom), limits)
        environment = HumeClientEnvironment(base=self.url, evi="", tts="", stream="")
        self.client = HumeClient(api_key="token", environment=environment).expression_measurement.batch
        self.asynchronous = AsyncHumeClient(api_key="token", environment=environment).expression_measurement.batch

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    def work(self) -> int:
        return self.worker.drain(self.queue.claim)

    def close(self) -> None:
        self.server.stop()
        self.queue.close()


def write_astronaut(path: Path) -> Path:
    """A smiling face at about (224, 113) of 512 x 512."""
    Image.fromarray(pictures.astronaut()).save(path)
    return path


@contextmanager
def serving(folder: Path, models: ModelStore) -> Iterator[Service]:
    """A service over the queue in ``folder``, with the models of ``models``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(models.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        running = Service(folder)
        yield running
        running.close()


def write_film(path: Path) -> Path:
    """Two seconds of the same face, with silence."""
    face = pictures.astronaut()[:256, 96:352]
    frames = ((k / 10, face) for k in range(20))
    return write(path, frames, np.zeros((88_200, 1), np.float32), sound_codec="aac")


def face_of(predictions: list[Any]) -> Any:
    (source,) = predictions
    (prediction,) = source.results.predictions
    (group,) = prediction.models.face.grouped_predictions
    return group
