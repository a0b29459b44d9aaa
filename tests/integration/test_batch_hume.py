"""Batch jobs with Hume's own client, as its documentation writes it: real server, queue, worker and models."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hume.core.api_error import ApiError
from hume.expression_measurement.batch.types import Face, InferenceBaseRequest, Models
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from edge_agent.batch.analysis import Analyser
from edge_agent.batch.jobs import JobStatus
from edge_agent.batch.worker import Worker
from edge_agent.models import Catalogue, ModelStore
from edge_agent.settings import BatchSettings
from edge_agent.web import batch
from tests.support.batch import LIMITS, Service, face_of, serving, write_astronaut, write_film
from tests.support.web import Server


@pytest.fixture(scope="module")
def service(model_store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("batch") / "queue", model_store) as running:
        yield running


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_astronaut(tmp_path_factory.mktemp("hume") / "astronaut.jpg")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("hume") / "film.mp4")


def test_what_cannot_be_analysed_fails_alone(service: Service, astronaut: Path) -> None:
    damaged = ("broken.jpg", b"\xff\xd8\xff" + bytes(999), "image/jpeg")
    job_id = service.client.start_inference_job_from_local_file(file=[damaged, astronaut.open("rb")])
    service.work()
    state = service.client.get_job_details(job_id).state
    assert (state.status, state.num_predictions, state.num_errors) == ("COMPLETED", 1, 1)
    broken, good = service.client.get_job_predictions(job_id)
    assert broken.error
    assert broken.results.errors[0].file == "broken.jpg"
    assert good.results.predictions
    alone = service.client.start_inference_job_from_local_file(file=[damaged])
    service.work()
    failed = service.client.get_job_details(alone).state
    assert failed.status == "FAILED"
    assert "damaged" in failed.message


def test_the_mesh_of_each_near_face_of_a_picture_and_a_film(service: Service, astronaut: Path, film: Path) -> None:
    job_id = service.client.start_inference_job_from_local_file(
        file=[astronaut.open("rb"), film.open("rb")],
        json=InferenceBaseRequest(models=Models(face=Face(), facemesh={}), notify=False),
    )
    service.work()
    still, moving = service.client.get_job_predictions(job_id)
    assert not still.results.errors
    assert not moving.results.errors
    (group,) = still.results.predictions[0].models.facemesh.grouped_predictions
    (found,) = group.predictions
    assert max(found.emotions, key=lambda e: e.score).name == "Joy"
    points = np.array(found.landmarks)
    assert points.shape == (478, 3)
    (face,) = still.results.predictions[0].models.face.grouped_predictions[0].predictions
    assert face.box.x < np.median(points[:, 0]) < face.box.x + face.box.w
    assert set(found.gaze) >= {"yaw", "pitch", "head_yaw", "eyes_open"}
    times = [p.time for p in moving.results.predictions[0].models.facemesh.grouped_predictions[0].predictions]
    assert len(times) >= 5
    assert times == sorted(times)
    archive = zipfile.ZipFile(io.BytesIO(b"".join(service.client.get_job_artifacts(job_id))))
    name = next(name for name in archive.namelist() if name.endswith("astronaut.jpg/facemesh.csv"))
    (row,) = csv.DictReader(io.StringIO(archive.read(name).decode()))
    assert float(row["Joy"]) > 0.5
    assert float(row["head_yaw"]) == pytest.approx(found.gaze["head_yaw"])


def test_a_mesh_is_found_for_who_asks_and_where_its_models_are(
    astronaut: Path, model_store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    for name in ("blazeface-short", "blazeface-full"):
        shutil.copy(model_store.locate(name), tmp_path / "models")
    with serving(tmp_path / "queue", model_store) as running:
        everything = running.client.start_inference_job_from_local_file(file=[astronaut.open("rb")])
        running.work()
        (told,) = running.client.get_job_predictions(everything)
    assert told.results.predictions[0].models.face is not None
    assert told.results.predictions[0].models.facemesh is None
    with serving(tmp_path / "other", ModelStore(tmp_path / "models", Catalogue.load())) as running:
        asked = InferenceBaseRequest(models=Models(face=Face(), facemesh={}), notify=False)
        job_id = running.client.start_inference_job_from_local_file(file=[astronaut.open("rb")], json=asked)
        running.work()
        (told,) = running.client.get_job_predictions(job_id)
    assert told.results.predictions[0].models.face is not None
    assert [error.message for error in told.results.errors] == ["facemesh: this device has no model for facemesh"]


def test_an_archive_is_analysed_file_by_file(service: Service, astronaut: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("album/one.jpg", astronaut.read_bytes())
        archive.writestr("../two.jpg", astronaut.read_bytes())
        archive.writestr("album/notes.bin", bytes(100))
        archive.writestr("__MACOSX/._one.jpg", b"rubbish")
    job_id = service.client.start_inference_job_from_local_file(file=[("faces.zip", packed.getvalue())])
    service.work()
    (source,) = service.client.get_job_predictions(job_id)
    assert [p.file for p in source.results.predictions] == ["album/one.jpg", "../two.jpg"]
    assert [e.file for e in source.results.errors] == ["album/notes.bin"]
    names = zipfile.ZipFile(io.BytesIO(b"".join(service.client.get_job_artifacts(job_id)))).namelist()
    assert not [name for name in names if ".." in name]


def test_lists_are_filtered(service: Service, astronaut: Path) -> None:
    first, second = (
        service.client.start_inference_job_from_local_file(file=[("a.jpg", astronaut.read_bytes())]) for _ in range(2)
    )
    created = service.client.get_job_details(second).state.created_timestamp_ms
    queued = [job.job_id for job in service.client.list_jobs(status="QUEUED", direction="asc")]
    assert queued == [first, second]
    later = service.client.list_jobs(when="created_after", timestamp_ms=created, status="QUEUED")
    assert later == []
    until = service.client.list_jobs(when="created_before", timestamp_ms=created, status="QUEUED", limit=1)
    assert [job.job_id for job in until] == [second]
    assert httpx.delete(f"{service.url}/v0/batch/jobs/{first}").status_code == 204
    assert [job.job_id for job in service.client.list_jobs(status="QUEUED")] == [second]
    service.work()
    assert service.client.list_jobs(status=["QUEUED", "IN_PROGRESS"]) == []


def test_a_stop_gives_the_recording_back_and_costs_no_attempt(service: Service, film: Path) -> None:
    job_id = service.client.start_inference_job_from_local_file(file=[("film.mp4", film.read_bytes())])
    asked = iter([False, False, *[True] * 100])
    Worker(service.queue, Analyser(LIMITS), LIMITS, lambda: next(asked)).drain(service.queue.claim)
    (source,) = service.queue.job(job_id).sources
    assert (source.status, source.attempts) == (JobStatus.QUEUED, 0)
    assert service.work() == 1
    assert service.client.get_job_details(job_id).state.status == "COMPLETED"


@pytest.mark.parametrize(("option", "value"), [("time_limit_s", 0.0), ("max_minutes", 0.01)])
def test_a_recording_that_takes_too_long_fails(service: Service, film: Path, option: str, value: float) -> None:
    limits = LIMITS.model_copy(update={option: value})
    job_id = service.client.start_inference_job_from_local_file(file=[("film.mp4", film.read_bytes())])
    Worker(service.queue, Analyser(limits), limits).drain(service.queue.claim)
    state = service.client.get_job_details(job_id).state
    assert state.status == "FAILED"
    assert f"batch.{option}" in state.message


def test_an_analyzer_that_the_config_switches_off_stays_off(service: Service, astronaut: Path) -> None:
    without = Worker(service.queue, Analyser(LIMITS, withheld=frozenset({"emotion", "burst"})), LIMITS)
    job_id = service.client.start_inference_job_from_local_file(
        file=[("a.jpg", astronaut.read_bytes())], json=InferenceBaseRequest(models=Models(face=Face(), burst={}))
    )
    without.drain(service.queue.claim)
    predictions = service.client.get_job_predictions(job_id)
    assert face_of(predictions).predictions[0].emotions == []
    assert predictions[0].results.errors


def test_addresses_are_fetched_and_callbacks_sent_where_the_config_allows(
    tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch, model_store: ModelStore
) -> None:
    monkeypatch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
    got: list[Any] = []

    async def hook(request: Request) -> Response:
        got.append(await request.json())
        return Response(status_code=204)

    other = Server([Route("/a.jpg", lambda _request: FileResponse(astronaut)), Route("/hook", hook, methods=["POST"])])
    limits = BatchSettings(enabled=True, allow_urls=True, allow_callbacks=True, private_networks=("127.0.0.0/8",))
    service = Service(tmp_path / "queue", limits)
    try:
        at = f"http://{other.address}"
        job_id = service.client.start_inference_job(
            urls=[f"{at}/a.jpg?size=1", f"{at}/none.jpg"], models=Models(face=Face()), callback_url=f"{at}/hook"
        )
        service.work()
        found, missing = service.client.get_job_predictions(job_id)
        assert found.source.url == f"{at}/a.jpg?size=1"
        assert found.results.predictions[0].file == "a.jpg"
        assert "404" in missing.error
        assert [(one["job_id"], one["status"], len(one["predictions"])) for one in got] == [(job_id, "COMPLETED", 2)]
        refused = Service(tmp_path / "other", limits.model_copy(update={"private_networks": ()}))
        with pytest.raises(ApiError, match="no public address"):
            refused.client.start_inference_job(urls=[f"{at}/a.jpg"])
        refused.close()
    finally:
        service.close()
        other.stop()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"json": {}}, 400, "nothing to analyse"),
        ({"content": b"{"}, 400, "no JSON"),
        ({"json": [1]}, 400, "JSON object"),
        ({"json": {"models": {"face": {"fps_pred": -1}}}}, 400, "models.face.fps_pred"),
        ({"json": {"text": ["a"], "callback_url": "https://example.com/"}}, 400, "batch.allow_callbacks"),
        ({"files": {"file": ("a", bytes(2_000_001))}}, 400, "batch.max_file_mb"),
        ({"files": [("file", (str(k), b"x")) for k in range(6)]}, 400, "batch.max_files"),
        ({"files": {"file": ("a", b"x")}, "data": {"json": "no"}}, 400, "no JSON"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
    ],
)  # fmt: skip
def test_what_cannot_be_accepted_is_refused(service: Service, options: dict[str, Any], status: int, words: str) -> None:
    answer = httpx.post(f"{service.url}/v0/batch/jobs", **options)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert list(service.queue.folder.glob("upload-*")) == []


@pytest.mark.parametrize("path", ["?status=DONE", "?limit=0", "?limit=x", "?sort_by=size", "?when=never"])
def test_wrong_filters_are_refused(service: Service, path: str) -> None:
    assert httpx.get(f"{service.url}/v0/batch/jobs{path}").status_code == 400


def test_an_unknown_job_is_not_found(service: Service) -> None:
    for name in ("nothing", "../../etc/passwd", "6a3bd5b5-0000-4000-8000-000000000000"):
        for part in ("", "/predictions", "/artifacts"):
            assert httpx.get(f"{service.url}/v0/batch/jobs/{name.replace('/', '%2F')}{part}").status_code == 404


def test_without_batch_jobs_the_endpoint_says_what_to_do(tmp_path: Path) -> None:
    server = Server(batch.routes(BatchSettings(), lambda: pytest.fail("opened"), tmp_path))
    try:
        answer = httpx.get(f"http://{server.address}/v0/batch/jobs")
        assert answer.status_code == 403
        assert "batch.enabled" in answer.json()["detail"]
    finally:
        server.stop()
