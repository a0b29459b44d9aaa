"""Hume's custom models over batch jobs and the stream: a real server, queue, worker, store and models."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from hume.expression_measurement.batch.types import JobTlInference, TlInferenceSourcePredictResult
from hume.expression_measurement.stream import Config
from websockets.sync import client

from edge_agent.api import ConfigError, CustomModels
from edge_agent.batch.custom import CustomAnswers
from edge_agent.custom.examples import read_examples
from edge_agent.domain.media import AUDIO_RATE
from edge_agent.models import ModelStore
from edge_agent.web import hume
from tests.support.batch import Service, write_astronaut
from tests.support.custom import waves, write_models


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, custom models, ``face.jpg``, ``hiss.wav`` and ``note.txt``."""
    folder = tmp_path_factory.mktemp("custom")
    (folder / "config.toml").write_text(f'[device]\nstate_dir = "{folder / "state"}"\n')
    write_models(folder / "state")
    write_astronaut(folder / "face.jpg")
    soundfile.write(folder / "hiss.wav", waves()[1], AUDIO_RATE)
    (folder / "note.txt").write_text("Thank you so much for your help!")
    return folder


@pytest.fixture(scope="module")
def service(home: Path, model_store: ModelStore) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AGENT__MODELS__DIR", str(model_store.directory))
        patch.setenv("EDGE_AGENT__MODELS__AUTO_PULL", "false")
        models = partial(CustomModels, home / "config.toml", pull=False)
        stream = hume.routes(custom=CustomAnswers(models, frozenset({"custom:machine"})))
        running = Service(home / "queue", open_custom=models, more=stream)
        yield running
        running.close()


def submit(service: Service, request: dict[str, Any], *files: Path) -> httpx.Response:
    parts = [("file", (path.name, path.read_bytes())) for path in files]
    return httpx.post(
        f"{service.url}/v0/batch/jobs/tl/inference", data={"json": json.dumps(request)}, files=parts, timeout=60
    )


@pytest.mark.documented("Hume custom models", "GET https://api.hume.ai/v0/registry/models: response['content']")
def test_models_are_listed_with_their_ids(service: Service) -> None:
    content = httpx.get(f"{service.url}/v0/registry/models").json()["content"]
    assert [(model["name"], model["id"]) for model in content] == [
        (name, name) for name in ("machine", "mood", "smile")
    ]
    one = httpx.get(f"{service.url}/v0/registry/models/mood").json()
    assert one["latest_version"]["id"] == "mood@1"
    assert httpx.get(f"{service.url}/v0/registry/models/mod").status_code == 404


@pytest.mark.documented(
    "Hume custom models",
    'POST https://api.hume.ai/v0/batch/jobs/tl/inference {"custom_model": {"id": …}, "urls": […]}',
    differs="the id is the model's name; files as a form, addresses where batch.allow_urls says so",
)
@pytest.mark.documented(
    "Hume custom models", "response[0]['results']['predictions'][0]['custom_models'][key]['output'][label]"
)
@pytest.mark.parametrize(
    ("model", "file", "label", "kind"),
    [
        ("smile", "face.jpg", "smiling", "image"),
        ("mood", "note.txt", "thanks", "text"),
        ("machine", "hiss.wav", "hiss", "audio"),
    ],
)
def test_a_job_for_a_custom_model(service: Service, home: Path, model: str, file: str, label: str, kind: str) -> None:
    answered = submit(service, {"custom_model": {"version_id": f"{model}@1"}, "notify": True}, home / file)
    assert answered.status_code == 200, answered.text
    job_id = answered.json()["job_id"]
    assert service.work() == 1
    job = JobTlInference.model_validate(httpx.get(f"{service.url}/v0/batch/jobs/{job_id}").json())
    assert (job.state.status, job.state.num_predictions) == ("COMPLETED", 1)
    told = httpx.get(f"{service.url}/v0/batch/jobs/{job_id}/predictions").json()
    result = TlInferenceSourcePredictResult.model_validate(told[0])
    assert result.results is not None
    (prediction,) = result.results.predictions
    assert prediction.file_type == kind
    found = prediction.custom_models[model]
    assert (found.task_type, found.error) == ("classification", "")
    assert max(found.output, key=lambda name: found.output[name]) == label
    archive = zipfile.ZipFile(io.BytesIO(httpx.get(f"{service.url}/v0/batch/jobs/{job_id}/artifacts").content))
    (row,) = csv.DictReader(io.StringIO(archive.read(f"file-0-{file}/csv/{file}/custom-{model}.csv").decode()))
    assert float(row[label]) == found.output[label]
    assert job_id in [one.job_id for one in service.client.list_jobs(limit=5)]  # the SDK reads lists with such jobs
    assert service.client.get_job_predictions(job_id)[0].results is not None


@pytest.mark.documented("Hume custom models", "an id, a version or a file that does not fit: 400, or the job's message")
def test_what_cannot_be_judged_is_told(service: Service, home: Path) -> None:
    for request, why in (
        ({"custom_model": {"id": "mod"}}, "did you mean 'mood'"),
        ({"custom_model": {"id": "mood", "version_id": "mood@7"}}, "has no version 7"),
        ({"custom_model": {}}, "id or version_id"),
        ({"custom_model": {"id": "../mood"}}, "custom_model.id"),
        ({}, "custom_model: missing"),
        ({"custom_model": {"id": "mood"}, "urls": ["http://localhost/x"]}, "batch.allow_urls"),
    ):
        answered = submit(service, request, home / "note.txt")
        assert answered.status_code == 400, request
        assert why in answered.json()["detail"], request
    job_id = submit(service, {"custom_model": {"id": "smile"}}, home / "hiss.wav").json()["job_id"]
    service.work()
    job = httpx.get(f"{service.url}/v0/batch/jobs/{job_id}").json()
    assert job["state"]["message"] == "this file is for sound, but custom model 'smile' judges face"


@pytest.mark.documented(
    "Hume custom models",
    "POST https://api.hume.ai/v0/registry/v0/batch/jobs/tl/train, datasets and files of the registry",
    differs="trained on the device, from a folder or a table: `edge-agent custom train`",
)
def test_training_is_pointed_to_the_device(service: Service) -> None:
    answered = httpx.post(f"{service.url}/v0/batch/jobs/tl/train", json={"custom_model": {"name": "x"}})
    assert answered.status_code == 501
    assert "edge-agent custom train" in answered.json()["detail"]


@pytest.mark.documented(
    "Hume custom models", 'Config(custom_models={"mood": {}}) on the stream', differs="ours: Hume's stream has none"
)
def test_custom_models_on_the_stream(service: Service, home: Path) -> None:
    def ask(data: str, *names: str, **more: Any) -> dict[str, Any]:
        config = Config(custom_models={name: {} for name in names})  # the SDK passes on what it does not know
        connection.send(json.dumps({"data": data, "models": config.dict(), **more}))
        return dict(json.loads(connection.recv(timeout=60))["custom_models"])

    with client.connect(f"ws://{service.server.address}/v0/stream/models") as connection:
        text = ask("I hate this, I am so angry!", "mood", "smile", raw_text=True)
        assert text["mood"]["output"]["anger"] > text["mood"]["output"]["thanks"]
        assert text["smile"] == {
            "output": {}, "error": "custom model 'smile' judges face, not words", "task_type": "",
        }  # fmt: skip
        face = ask(b64encode((home / "face.jpg").read_bytes()).decode(), "smile", "nope", "machine")
        assert face["smile"]["output"]["smiling"] > 0.5
        assert "no custom model 'nope'" in face["nope"]["error"]
        assert "switches custom:machine off" in face["machine"]["error"]


@pytest.mark.documented("Hume custom models", "GET https://api.hume.ai/v0/registry/models/:id: latest_version")
def test_a_new_version_answers_at_once(service: Service, home: Path) -> None:
    store = write_models(home / "state")  # the second version of each
    assert store.versions("mood") == (1, 2)
    assert httpx.get(f"{service.url}/v0/registry/models/mood").json()["latest_version"]["version"] == 2


@pytest.mark.documented(
    "Hume custom models",
    "a data set of at least 20 files with labels; classification or regression",
    differs="`edge-agent custom train`, with scores on sources unseen, tested in tests/integration/test_custom.py",
)
def test_labels_are_checked_before_training(tmp_path: Path) -> None:
    rows = [f'"text {k}",{("happy", "sad")[k % 2]},person{k % 4}' for k in range(24)]
    for lines, why in (
        (rows[:10], "at least 20"),
        ([*rows, *(f'"more {k}",hapy,person5' for k in range(2))], "did you mean"),
    ):
        (tmp_path / "labels.csv").write_text("\n".join(["text,label,source", *lines]))
        with pytest.raises(ConfigError, match=why):
            read_examples(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("\n".join(["text,label,source", *rows]))
    assert read_examples(tmp_path / "labels.csv").labels == ("happy", "sad")
