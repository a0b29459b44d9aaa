"""Hume's batch client, line by line as its documentation writes it: real server, queue, worker and models."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hume.core.api_error import ApiError
from hume.expression_measurement.batch.types import (
    Face,
    InferenceBaseRequest,
    Language,
    Models,
    Ner,
    Prosody,
    Transcription,
)

from edge_agent.batch.artifacts import EMOTION_NAMES
from edge_agent.models import ModelStore
from tests.support.batch import Service, face_of, serving, write_astronaut, write_film


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


@pytest.mark.documented("Hume", "hume.start_inference_job_from_local_file(file=[file], json=InferenceBaseRequest(…))")
@pytest.mark.documented("Hume", "hume.get_job_details(id=job_id): QUEUED, IN_PROGRESS, COMPLETED, FAILED")
@pytest.mark.documented("Hume", "hume.get_job_predictions(id=job_id)")
@pytest.mark.documented("Hume", "hume.get_job_artifacts(id=job_id): CSV and JSON")
@pytest.mark.documented("Hume", "hume.list_jobs(limit, status, when, timestamp_ms, sort_by, direction)")
def test_the_six_calls_of_the_synchronous_client(service: Service, astronaut: Path, film: Path, tmp_path: Path) -> None:
    hume = service.client
    with astronaut.open("rb") as file:
        job_id = hume.start_inference_job_from_local_file(
            file=[file], json=InferenceBaseRequest(models=Models(face=Face(identify_faces=True)), notify=False)
        )
    waiting = hume.get_job_details(job_id)
    assert waiting.type == "INFERENCE"
    assert waiting.state.status == "QUEUED"
    assert waiting.request.files[0].filename == "astronaut.jpg"
    assert waiting.request.models.face.identify_faces
    with pytest.raises(ApiError) as early:
        hume.get_job_predictions(job_id)
    assert early.value.status_code == 400
    assert "no predictions yet" in early.value.body["detail"]
    assert service.work() == 1
    state = hume.get_job_details(job_id).state
    assert state.status == "COMPLETED"
    assert (state.num_predictions, state.num_errors) == (1, 0)
    assert state.created_timestamp_ms <= state.started_timestamp_ms <= state.ended_timestamp_ms
    predictions = hume.get_job_predictions(job_id)
    assert predictions[0].source.type == "file"
    group = face_of(predictions)
    assert group.id == "face_0"
    (face,) = group.predictions
    assert face.box.x + face.box.w / 2 == pytest.approx(224, abs=25)
    assert face.box.y + face.box.h / 2 == pytest.approx(113, abs=25)
    scores = {emotion.name: emotion.score for emotion in face.emotions}
    assert max(scores, key=lambda name: scores[name]) == "Joy"
    hume.get_and_write_job_artifacts(job_id, file_name=str(tmp_path / "artifacts.zip"))
    with zipfile.ZipFile(tmp_path / "artifacts.zip") as archive:
        (row,) = csv.DictReader(io.StringIO(archive.read("file-0-astronaut.jpg/csv/astronaut.jpg/face.csv").decode()))
        assert json.loads(archive.read("predictions.json"))[0]["results"]["predictions"][0]["file"] == "astronaut.jpg"
        assert "file-0-astronaut.jpg/json/astronaut.jpg/face.json" in archive.namelist()
    assert row["Id"] == "face_0"
    assert float(row["Joy"]) == scores["Joy"]
    assert {name for names in EMOTION_NAMES.values() for name in names} < set(row)
    assert job_id in [job.job_id for job in hume.list_jobs(status=["COMPLETED"], limit=5, direction="desc")]


@pytest.mark.documented(
    "Hume", "hume.start_inference_job(text=[…], models=Models(language=Language()))", differs="sentences, not words"
)
def test_texts_are_judged_by_sentence(service: Service) -> None:
    text = "Thank you so much, this is wonderful! I am really angry about the noise."
    job_id = service.client.start_inference_job(text=[text, "Das ist ein Satz."], models=Models(language=Language()))
    service.work()
    first, second = service.client.get_job_predictions(job_id)
    assert first.source.type == "text"
    (group,) = first.results.predictions[0].models.language.grouped_predictions
    found = [
        (max(p.emotions, key=lambda e: e.score).name, text[p.position.begin : p.position.end])
        for p in group.predictions
    ]
    assert found == [
        ("Gratitude", "Thank you so much, this is wonderful!"),
        ("Anger", "I am really angry about the noise."),
    ]
    assert "not English" in second.results.errors[0].message
    archive = zipfile.ZipFile(io.BytesIO(b"".join(service.client.get_job_artifacts(job_id))))
    rows = list(csv.DictReader(io.StringIO(archive.read("text-0/csv/text/language.csv").decode())))
    assert rows[0]["Text"] == "Thank you so much, this is wonderful!"
    assert {"Gratitude", "approval", "BeginPosition"} < set(rows[0])


@pytest.mark.documented("Hume", "AsyncHumeClient(…).expression_measurement.batch: the same calls")
@pytest.mark.documented("Hume", "hume.start_inference_job(urls=[…])", differs="where batch.allow_urls says so")
def test_the_six_calls_of_the_asynchronous_client(service: Service, film: Path) -> None:
    async def talk() -> Any:
        hume = service.asynchronous
        job_id = await hume.start_inference_job_from_local_file(
            file=[("film.mp4", film.read_bytes(), "video/mp4")],
            json=InferenceBaseRequest(models=Models(face=Face(fps_pred=5), burst={}, prosody=Prosody())),
        )
        await asyncio.to_thread(service.work)
        details = await hume.get_job_details(job_id)
        predictions = await hume.get_job_predictions(job_id)
        archive = b"".join([chunk async for chunk in hume.get_job_artifacts(job_id)])
        jobs = await hume.list_jobs(limit=1, sort_by="ended", direction="desc")
        with pytest.raises(ApiError) as refused:
            await hume.start_inference_job(urls=["https://example.com/faces.zip"])
        return job_id, details, predictions, archive, jobs, refused.value

    job_id, details, predictions, archive, jobs, refused = asyncio.run(talk())
    assert details.state.status == "COMPLETED"
    models = predictions[0].results.predictions[0].models
    times = [face.time for face in models.face.grouped_predictions[0].predictions]
    assert len(times) >= 5
    assert times == sorted(times)
    assert models.face.grouped_predictions[0].id == "unknown"
    assert models.burst.grouped_predictions == []
    (error,) = predictions[0].results.errors  # what a model cannot do takes nothing from the others
    assert error.message.startswith("prosody: ")
    assert details.state.num_errors == 1
    assert "file-0-film.mp4/csv/film.mp4/burst.csv" in zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert jobs[0].job_id == job_id
    assert refused.status_code == 400
    assert "batch.allow_urls" in refused.body["detail"]


@pytest.mark.documented(
    "Hume",
    "hume.start_inference_job_from_local_file(…, Models(facemesh={}))",
    differs="emotions are read from the picture; the 478 landmarks and the gaze beside them are ours",
)
def test_the_mesh_of_a_face(service: Service, astronaut: Path) -> None:
    asked = InferenceBaseRequest(models=Models(facemesh={}))
    job_id = service.client.start_inference_job_from_local_file(file=[astronaut.open("rb")], json=asked)
    service.work()
    (source,) = service.client.get_job_predictions(job_id)
    (found,) = source.results.predictions[0].models.facemesh.grouped_predictions[0].predictions
    assert max(found.emotions, key=lambda e: e.score).name == "Joy"
    assert len(found.landmarks) == 478


@pytest.mark.documented(
    "Hume",
    'Models(ner=Ner(), language=Language(sentiment={}, toxicity={})), Transcription(language="en")',
    differs="no ner, sentiment and toxicity: each an entry in errors; speech is English",
)
def test_models_that_are_not_here_are_errors_beside_the_others(service: Service) -> None:
    models = Models(ner=Ner(), language=Language(sentiment={}, toxicity={}))
    job_id = service.client.start_inference_job(
        text=["Thank you so much, this is wonderful!"], models=models, transcription=Transcription(language="en")
    )
    service.work()
    (source,) = service.client.get_job_predictions(job_id)
    (group,) = source.results.predictions[0].models.language.grouped_predictions
    assert group.predictions[0].emotions
    told = sorted(error.message for error in source.results.errors)
    assert told == [
        "language: sentiment: not on this device", "language: toxicity: not on this device",
        "ner: this device has no model for ner",
    ]  # fmt: skip
