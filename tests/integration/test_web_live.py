"""The live API of a real agent: ``edge-agent run`` as a process, a recording as its devices, and a real broker."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import jsonschema
import pytest
from hume import AsyncHumeClient, HumeClient
from hume.core.api_error import ApiError
from hume.environment import HumeClientEnvironment
from hume.expression_measurement.stream import Config
from prometheus_client.parser import text_string_to_metric_families
from skimage import data as pictures
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from edge_agent.live.history import FILE, History
from edge_agent.payloads.schemas import schema
from edge_agent.settings import Settings
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.subscriber import Subscriber
from tests.support.web_agent import WebAgent, running, wait_for
from tests.support.windows import a_summary

HOUR = 1_779_998_400.0
PROBLEM = "application/problem+json"


def past() -> History:
    """An hour of the device's life, long ago."""
    history = History()
    for k in range(361):
        history.add(a_summary(10.0 * k, HOUR))
    return history


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as started:
        yield started


@pytest.fixture(scope="module")
def heard(broker: Mosquitto) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as listening:
        yield listening


@pytest.fixture(scope="module")
def agent(
    cli: Cli, broker: Mosquitto, heard: Subscriber, media: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebAgent]:
    folder = tmp_path_factory.mktemp("kiosk")
    (folder / "state").mkdir()
    (folder / "state" / FILE).write_text(json.dumps(past().document()))
    kiosk = f'source = "{media / "kiosk.mp4"}"\nloop = true'
    mqtt = f'host = "127.0.0.1"\nport = {broker.port}'
    with running(cli, folder, camera=kiosk, microphone=kiosk, summary="window_s = 2", mqtt=mqtt) as started:
        with started.http(Authorization=f"Bearer {started.token}") as asking:
            wait_for(lambda: asking.get("/api/v1/summary").status_code == 200, "the first window")
        yield started


@pytest.fixture(scope="module")
def http(agent: WebAgent) -> Iterator[httpx.Client]:
    with agent.http(Authorization=f"Bearer {agent.token}") as client:
        yield client


def open_files(agent: WebAgent, name: str) -> int:
    """How many of the agent's descriptors are of a file of that name."""
    assert agent.process is not None
    folder = Path(f"/proc/{agent.process.pid}/fd")
    found = 0
    for link in folder.iterdir():
        try:
            found += os.readlink(link).endswith(name)
        except OSError:
            continue
    return found


def sent(heard: Subscriber, document: dict[str, Any]) -> bool:
    """Whether the broker has had ``document``; numbers are counted anew there."""
    topic = f"event/{document['kind']}" if "kind" in document else "summary"
    messages = [message.json for message in heard.on(f"edge-agent/kiosk-1/{topic}")]
    return {**document, "seq": 0} in [{**one, "seq": 0} for one in messages]


def test_summaries_and_events_are_those_of_mqtt(agent: WebAgent, http: httpx.Client, heard: Subscriber) -> None:
    wait_for(lambda: len(http.get("/api/v1/summaries").json()["summaries"]) >= 2, "two windows")
    wait_for(lambda: http.get("/api/v1/events").json()["events"], "the first cough")
    summaries = http.get("/api/v1/summaries").json()["summaries"]
    events = http.get("/api/v1/events").json()["events"]
    for documents, kind in (summaries, "summary"), (events, "event"):
        for document in documents:
            jsonschema.validate(document, schema(kind))
            wait_for(lambda d=document: sent(heard, d), "the same on MQTT", 10)
        assert [d["seq"] for d in documents] == sorted({d["seq"] for d in documents})
    after = http.get("/api/v1/summaries", params={"since": summaries[-2]["seq"]}).json()["summaries"]
    assert after[0] == summaries[-1]
    assert http.get("/api/v1/events", params={"since": events[-1]["seq"]}).json()["events"] == []
    assert http.get("/api/v1/summary").json()["seq"] >= summaries[-1]["seq"]


def test_status_is_everything_that_is_current(agent: WebAgent, http: httpx.Client, heard: Subscriber) -> None:
    status = http.get("/api/v1/status").json()
    assert (status["device"], status["control"]) == ("kiosk-1", True)
    assert status["boot_id"] == http.get("/api/v1/summary").json()["boot_id"]
    assert status["info"]["analyzers"]["face"] == "enabled"
    assert status["state"]["camera"] == "on"
    assert status["health"]["status"] == "ok"
    assert status["health"]["components"]["web"] == {"alive": True, "restarts": 0}
    assert status["pacing"] is not None
    assert status["state"] == heard.on("edge-agent/kiosk-1/state")[-1].json
    assert http.get("/api/v1/config/schema").json() == Settings.model_json_schema()


def test_probes_need_no_token_and_reveal_nothing_else(agent: WebAgent) -> None:
    with agent.http() as stranger:
        assert stranger.get("/healthz").json() == {"status": "ok"}
        answer = stranger.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_metrics_are_prometheus(http: httpx.Client) -> None:
    wait_for(lambda: "edge_agent_emotion{" in http.get("/metrics").text, "somebody's expression")
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {f.name: f for f in text_string_to_metric_families(answer.text)}
    value = {name: family.samples[0].value for name, family in found.items() if family.samples}
    assert value["edge_agent_healthy"] == value["edge_agent_mqtt_connected"] == 1.0
    assert value["edge_agent_problems"] == 0.0
    assert value["edge_agent_video_fps"] > 1.0
    assert value["edge_agent_memory_megabytes"] > 50.0
    assert found["edge_agent_cpu_seconds"].type == "counter"
    assert value["edge_agent_outbox_produced"] > 0.0
    emotions = {s.labels["emotion"]: s.value for s in found["edge_agent_emotion"].samples}
    assert sum(emotions.values()) == pytest.approx(1.0, abs=0.01)
    assert all(family.documentation for family in found.values())


def test_analytics_come_from_the_kept_history(http: httpx.Client) -> None:
    period = {"since": HOUR, "until": HOUR + 3600}
    hour = http.get("/api/v1/analytics", params=period).json()
    windows = [a_summary(10.0 * k, HOUR).window for k in range(360)]
    assert hour["known_seconds"] == 3600.0
    assert hour["viewers"]["arrivals"] == sum(window.faces.arrived for window in windows)
    (laughter,) = hour["viewers"]["bursts"]
    assert (laughter["label"], laughter["count"]) == ("laughter", 2 * sum(bool(window.bursts) for window in windows))
    assert hour["streaming"]["video_fps"] == pytest.approx(14.9, abs=0.01)
    assert hour["streaming"]["gaps"] == {"video": 0.0, "audio": 0.0}
    stepped = http.get("/api/v1/analytics", params={**period, "step": "600"}).json()
    assert len(stepped["series"]) == 6
    assert sum(step["viewers"]["arrivals"] for step in stepped["series"]) == hour["viewers"]["arrivals"]
    assert {k: v for k, v in stepped.items() if k != "series"} == hour
    rfc = {"since": "2026-05-28T20:00:00Z", "until": "2026-05-28T23:00:00+02:00"}
    assert http.get("/api/v1/analytics", params=rfc).json() == hour
    nothing = http.get("/api/v1/analytics", params={"since": HOUR - 7200, "until": HOUR - 3600}).json()
    assert (nothing["known_seconds"], nothing["viewers"], nothing["streaming"]) == (0.0, None, None)


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-05-28T20:00:00",
        "since=9&until=9",
        "step=7",
        "since=nan",
        "since=-1",
        "until=1e99",
    ],
)
def test_an_invalid_period_is_refused(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/api/v1/analytics?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert answer.json()["detail"].partition(":")[0].split()[0] in query


def test_live_messages_arrive_as_things_happen(agent: WebAgent, http: httpx.Client) -> None:
    first: dict[str, Any] = {}
    with agent.live(agent.token) as messages:
        for message in messages:
            if message["type"] in first and message["type"] == "summary":
                break
            first.setdefault(message["type"], message["data"])
        assert {"state", "health", "pacing", "summary"} <= set(first)
        assert message["data"]["seq"] > first["summary"]["seq"]
        assert message["data"] in http.get("/api/v1/summaries").json()["summaries"]


def test_server_sent_events_carry_the_same_messages(http: httpx.Client) -> None:
    with http.stream("GET", "/stream-emotion-feed") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found: list[dict[str, Any]] = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                message = json.loads(line.removeprefix("data: "))
                found += [message["data"]] if message["type"] == "summary" else []
            if len(found) == 2:
                break
    assert found[0]["seq"] < found[1]["seq"]
    assert found[1] in http.get("/api/v1/summaries").json()["summaries"]


def test_commands_are_obeyed_and_seen_as_state(agent: WebAgent, http: httpx.Client, heard: Subscriber) -> None:
    """Privacy lets go of camera and microphone, here a file that is open no longer."""
    assert open_files(agent, "kiosk.mp4") >= 1
    with agent.live(agent.token) as messages:
        done = http.post("/api/v1/control/privacy", json={"value": True})
        assert (done.status_code, done.json()["status"]) == (200, "done")
        assert open_files(agent, "kiosk.mp4") == 0
        seen = next(m["data"] for m in messages if m["type"] == "state" and m["data"]["privacy"] == "on")
        assert (seen["camera"], seen["microphone"]) == ("off", "off")
        assert http.get("/api/v1/status").json()["state"] == seen
        wait_for(lambda: heard.on("edge-agent/kiosk-1/state")[-1].json == seen, "the state on MQTT")
        refused = http.post("/camera/start")
        assert (refused.status_code, refused.headers["content-type"]) == (409, PROBLEM)
        assert "privacy" in refused.json()["detail"]
        http.post("/api/v1/control/privacy", json={"value": False})
        next(m for m in messages if m["type"] == "state" and m["data"]["camera"] == "on")
    wait_for(lambda: open_files(agent, "kiosk.mp4") >= 1, "the recording open again")


def test_the_camera_alone_is_stopped_and_started(agent: WebAgent, http: httpx.Client) -> None:
    assert http.post("/camera/stop").json()["state"]["camera"] == "off"
    state = http.get("/api/v1/status").json()["state"]
    assert (state["camera"], state["microphone"], state["privacy"]) == ("off", "on", "off")
    assert http.post("/camera/start").json()["state"]["camera"] == "on"
    wait_for(lambda: http.get("/readyz").status_code == 200, "the camera")


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/v1/control/profile", '{"value": "frantic"}', 409),
        ("POST", "/api/v1/control/max_fps", '{"value": 1e9}', 409),
        ("POST", "/api/v1/control/max_fps", '{"value": NaN}', 409),
        ("POST", "/api/v1/control/pause", '{"value": -1}', 409),
        ("POST", "/api/v1/control/selfdestruct", "", 404),
        ("POST", "/api/v1/control/privacy", "on", 400),
        ("POST", "/api/v1/control/privacy", "[" * 5000, 400),
        ("POST", "/api/v1/control/privacy", '{"value": true, "force": true}', 400),
        ("GET", "/api/v1/control/privacy", None, 405),
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/static/..%2fserver.py", None, 404),
        ("DELETE", "/api/v1/summaries", None, 405),
        ("GET", "/api/v1/summaries?since=-1", None, 400),
        ("GET", "/api/v1/events?since=%C2%B2", None, 400),
    ],
)
def test_what_cannot_be_done_is_a_problem_document(
    http: httpx.Client, method: str, path: str, content: str | None, status: int
) -> None:
    answer = http.request(method, path, content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert problem["status"] == status
    command = {"outcome"} if method == "POST" else set()
    assert set(problem) == {"type", "title", "status", "detail"} | command
    assert problem.get("outcome") in (None, "refused")
    assert problem["detail"]


def test_compatible_endpoints_are_behind_the_token(agent: WebAgent, http: httpx.Client) -> None:
    picture = cv2.imencode(".png", pictures.astronaut()[..., ::-1])[1].tobytes()
    stream = f"ws://127.0.0.1:{agent.port}/v0/stream"
    here = HumeClientEnvironment(base="http://unused", evi="ws://unused", tts="ws://unused", stream=stream)
    data = base64.b64encode(picture).decode()
    with HumeClient(api_key=agent.token, environment=here).expression_measurement.stream.connect() as connection:
        answer = connection.send_file(data, config=Config(face={}))
    assert len(answer.face.predictions) == 1
    wrong = HumeClient(api_key="0123456789abcdef-wrong", environment=here)
    with pytest.raises(InvalidStatus, match="401"), wrong.expression_measurement.stream.connect():
        pass

    async def connect() -> None:
        client = AsyncHumeClient(api_key="0123456789abcdef-wrong", environment=here)
        async with client.expression_measurement.stream.connect():
            pass

    with pytest.raises(ApiError, match="invalid credentials"):
        asyncio.run(connect())
    with agent.http() as stranger:
        assert stranger.post("/process-frame", content=picture).status_code == 401
    assert http.post("/process-frame", content=picture).json()["overall_dominant_emotion"] == "happiness"
    assert http.post("/process-frame", content=b"x" * 33 * 1024 * 1024).status_code == 413


def test_the_token_it_made_up_is_its_own_and_survives(agent: WebAgent) -> None:
    assert stat.S_IMODE((agent.state / "web-token").stat().st_mode) == 0o600
    assert len(agent.token) >= 32


# ---------------------------------------------------------------------- an agent that is not well


@pytest.fixture(scope="module")
def unwell(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebAgent]:
    """Its camera is not there, commands are not wanted, and one may watch."""
    folder = tmp_path_factory.mktemp("unwell")
    web = 'control = false\nclients = 1\ntoken = "0123456789abcdef-unwell"'
    camera = f'source = "{folder / "film.mp4"}"\nloop = true'
    nowhere = f'host = "127.0.0.1"\nport = {free_port()}'
    with running(cli, folder, web, camera=camera, microphone='source = "none"', mqtt=nowhere) as started:
        with started.http() as asking:
            wait_for(lambda: asking.get("/readyz").json() == {"status": "degraded"}, "the missing camera")
        yield started


UNWELL = "0123456789abcdef-unwell"


def test_ready_only_when_nothing_is_wrong(unwell: WebAgent, media: Path) -> None:
    with unwell.http() as http:
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "degraded"})
        assert http.get("/healthz").status_code == 200

        def problems() -> set[str]:
            health = http.get("/api/v1/status", headers={"Authorization": f"Bearer {UNWELL}"}).json()["health"]
            return {line.split(":")[0] for line in health["problems"]}

        wait_for(lambda: problems() == {"camera", "mqtt"}, "what is wrong")  # its broker is not there, either
        shutil.copy(media / "kiosk.mp4", unwell.state.with_name("film.mp4"))
        wait_for(lambda: problems() == {"mqtt"}, "the camera that came")


def test_commands_are_refused_when_disabled(unwell: WebAgent) -> None:
    with unwell.http(Authorization=f"Bearer {UNWELL}") as http:
        for path in ("/api/v1/control/privacy", "/api/v1/control/nothing", "/camera/stop"):
            answer = http.post(path, json={"value": True})
            assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)
        assert http.get("/api/v1/status").json()["control"] is False
        assert http.get("/api/v1/status").json()["state"]["privacy"] == "off"


def test_a_client_above_the_limit_is_refused_with_retry(unwell: WebAgent) -> None:
    with unwell.http(Authorization=f"Bearer {UNWELL}") as http:
        with unwell.live(UNWELL) as messages:
            next(messages)
            with pytest.raises(ConnectionClosedError) as closed, unwell.live(UNWELL) as others:
                next(others)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, "later" in closed.value.rcvd.reason) == (1013, True)
            full = http.get("/stream-emotion-feed")
            assert (full.status_code, full.headers["content-type"]) == (503, PROBLEM)
            assert int(full.headers["retry-after"]) > 0
            assert http.get("/api/v1/status").status_code == 200
        time.sleep(0.5)
        with unwell.live(UNWELL) as messages:
            assert next(messages)["type"] == "state"
    with pytest.raises(InvalidStatus), unwell.live("0123456789abcdef-wrong"):
        pass


def test_a_token_that_cannot_be_read_does_not_end_a_running_agent(unwell: WebAgent) -> None:
    good = unwell.config.read_text()
    unwell.config.write_text(good.replace(f'token = "{UNWELL}"', 'token_file = "/nowhere/token"'))
    with unwell.http(Authorization=f"Bearer {UNWELL}") as http:
        wait_for(
            lambda: any("/nowhere/token" in line for line in http.get("/api/v1/status").json()["health"]["problems"]),
            "the refused config",
        )
        assert http.get("/readyz").status_code == 503
        unwell.config.write_text(good)
        wait_for(lambda: "nowhere" not in http.get("/api/v1/status").text, "the good config again")
