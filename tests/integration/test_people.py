"""Enrolled people are recognised in a real agent; names stay there unless asked for; forgetting leaves nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from websockets.sync.client import connect

from edge_agent.app.builder import PipelineBuilder
from edge_agent.domain.errors import ConfigError
from edge_agent.models import ModelStore
from edge_agent.people import Custody
from edge_agent.settings import read
from tests.support import canary, recordings
from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber
from tests.support.web_agent import WebAgent, wait_for

NAME = "Annika Canary-Enrolled"
BASE = "edge-agent/kiosk-1"
CONSENT = "Everybody here has signed the form in the hall."
TABLES = {"microphone": 'source = "none"', "privacy": 'context = "home"', "summary": "window_s = 2"}


@pytest.fixture(scope="module")
def people_cli(cli: Cli, identity_store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command with the network that recognises people."""
    assert identity_store.directory is not None
    models = Path(shutil.copytree(identity_store.directory, tmp_path_factory.mktemp("people") / "models"))
    return Cli({**cli.environment, "EDGE_AGENT__MODELS__DIR": str(models)})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One person in three pictures that differ in size and light."""
    folder, face = tmp_path_factory.mktemp("photos"), Image.fromarray(pictures.astronaut()[:320, 80:400])
    for number, light in enumerate((1.0, 0.8, 1.15)):
        face.resize((480 + 40 * number,) * 2).point(lambda v, light=light: int(min(255, v * light))).save(
            folder / f"{number}.png"
        )
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same person before a camera."""
    one = pictures.astronaut()[:320, 80:400]
    moving = [(t / 10, np.roll(np.pad(one, ((0, 0), (80, 80), (0, 0))), t % 8, axis=1)) for t in range(40)]
    return recordings.write(tmp_path_factory.mktemp("film") / "one.mp4", moving)


def config(folder: Path, **tables: str) -> Path:
    tables = {"device": f'id = "kiosk-1"\nstate_dir = "{folder / "state"}"', **TABLES, **tables}
    path = folder / "people.toml"
    path.write_text("".join(f"[{name}]\n{body}\n" for name, body in tables.items()))
    return path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Mosquitto.available():
        pytest.skip("needs the Debian package mosquitto")
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def memory_of(pid: int) -> Iterator[bytes]:
    """The writable memory of a process."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            where, mode, *_ = line.split()
            if not mode.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in where.split("-"))
            try:
                memory.seek(begin)
                yield memory.read(end - begin)
            except (OSError, OverflowError, ValueError):
                continue


def test_nobody_is_recognised_without_consent_and_context(people_cli: Cli, photos: list[str], tmp_path: Path) -> None:
    on = {"analyzers.identity": "enabled = true"}
    for tables, told in (
        (on, "identity.consent is missing"),
        ({**on, "identity": 'consent = "yes"'}, "at least 20 characters"),
        ({**on, "identity": f'consent = "{CONSENT}"', "privacy": ""}, 'privacy.context = "undeclared"'),
        ({"identity": f'consent = "{CONSENT}"\njoin_emotion = true'}, "join_emotion needs publish_names"),
    ):
        text = read(config(tmp_path, **tables))
        with pytest.raises(ConfigError, match=re.escape(told)):
            PipelineBuilder(text, text.settings()).check()
    refused = people_cli("people", "enroll", NAME, photos[0], "--config", str(config(tmp_path)))
    assert (refused.returncode, "identity.consent is missing" in refused.stderr) == (2, True)


def test_enrolment_refuses_pictures_that_would_give_wrong_names(
    people_cli: Cli, photos: list[str], tmp_path: Path
) -> None:
    path = config(tmp_path, identity=f'consent = "{CONSENT}"')
    one = np.asarray(Image.open(photos[0]).convert("RGB"))
    both = tmp_path / "both.png"
    Image.fromarray(np.hstack([one, one])).save(both)

    def people(*arguments: str) -> tuple[str, str]:
        state = {"EDGE_AGENT__DEVICE__STATE_DIR": str(tmp_path / "state")}
        done = people_cli("people", *arguments, "--config", str(path), **state)
        return done.stdout, done.stderr if done.returncode else ""

    assert "both.png shows 2 faces" in people("enroll", NAME, str(both), "--agreed", "form")[1]
    assert "how the person agreed" in people("enroll", NAME, photos[0])[1]
    assert people("enroll", NAME, *photos, "--agreed", "signed form")[1] == ""
    assert f"look like {NAME}" in people("enroll", "Somebody Else", photos[1], "--agreed", "form")[1]
    export = json.loads(people("export", NAME)[0])
    assert (export["agreed"], export["pictures"], len(export["template"])) == ("signed form", 3, 192)
    assert [p["name"] for p in json.loads(people("list", "--json")[0])] == [NAME]
    assert people("forget", NAME, "--yes")[1] == ""
    assert [p.name for p in (tmp_path / "state" / "people").iterdir()] == ["people.lock"]


def test_a_running_agent_counts_who_it_knows_tells_no_name_and_forgets_without_a_trace(
    people_cli: Cli, photos: list[str], film: Path, broker: Mosquitto, tmp_path: Path
) -> None:
    tables = {
        **TABLES,
        "camera": f'source = "{film}"\nloop = true',
        "mqtt": f'host = "127.0.0.1"\nport = {broker.port}',
        "identity": f'consent = "{CONSENT}"',
        "analyzers.identity": "enabled = true",
        "log": 'level = "debug"',
    }
    agent = WebAgent(people_cli, tmp_path, **tables)
    enroll = ("people", "enroll", NAME, *photos, "--agreed", "signed form", "--config", str(agent.config))
    state = {"EDGE_AGENT__DEVICE__STATE_DIR": str(agent.state)}
    assert people_cli(*enroll, **state).returncode == 0
    (person,) = Custody(agent.state / "people", environment={}).people()
    with Subscriber(broker.port) as heard:
        agent.start()
        assert agent.process is not None
        try:
            parts = lambda: [m.json.get("identity", {}) for m in heard.on(f"{BASE}/summary")]  # noqa: E731
            wait_for(lambda: any(part.get("known") == 1 for part in parts()), "a known person", 60)
            wait_for(lambda: heard.on(f"{BASE}/event/recognised"), "the event")
            pid = agent.process.pid
            needle = person.template.tobytes()[:24]
            assert any(needle in part for part in memory_of(pid)), "the search finds what is there"
            assert people_cli("people", "forget", NAME, "--yes", "--config", str(agent.config), **state).returncode == 0
            before = len(parts())
            wait_for(lambda: any("known" not in p or p["known"] == 0 for p in parts()[before + 1 :]), "forgotten", 30)
            secrets = (needle, person.template.tobytes()[400:424], NAME.encode())
            left = {secret for part in memory_of(pid) for secret in secrets if secret in part}
            assert left == set(), "still in memory"
        finally:
            log = agent.end()
    manifest = heard.on(f"{BASE}/info")[-1].json["privacy"]["identity"]
    assert manifest == {"consent": CONSENT, "publish_names": False}
    search = canary.Search.of((NAME, person.key), pictures=0)
    found = {m.topic: search.traces(m.payload) & {NAME, person.key} for m in heard.messages}
    found |= {str(p): search.traces_in(p) & {NAME, person.key} for p in agent.state.rglob("*") if p.is_file()}
    assert {where: what for where, what in found.items() if what} == {}
    assert NAME not in log
    assert not any(m.json.get("name") for m in heard.on(f"{BASE}/event/recognised"))


def test_names_and_their_expressions_are_published_when_both_switches_are_on(
    people_cli: Cli, photos: list[str], film: Path, broker: Mosquitto, tmp_path: Path
) -> None:
    tables = {
        **TABLES,
        "camera": f'source = "{film}"\nloop = true',
        "mqtt": f'host = "127.0.0.1"\nport = {broker.port}',
        "identity": f'consent = "{CONSENT}"\npublish_names = true\njoin_emotion = true',
        "analyzers.identity": "enabled = true",
    }
    agent = WebAgent(people_cli, tmp_path, **tables)
    enroll = ("people", "enroll", NAME, "--camera", "--agreed", "signed form", "--config", str(agent.config))
    assert people_cli(*enroll, EDGE_AGENT__DEVICE__STATE_DIR=str(agent.state)).returncode == 0
    with Subscriber(broker.port) as heard:
        agent.start()
        try:
            wait_for(lambda: heard.on(f"{BASE}/event/recognised"), "the event", 60)
            assert heard.on(f"{BASE}/event/recognised")[0].json["name"] == NAME
            wait_for(lambda: heard.on(f"{BASE}/presence")[-1].json.get("names") == [NAME], "presence by name")

            def joined() -> bool:
                told = [m.json.get("identity", {}).get("people", {}) for m in heard.on(f"{BASE}/summary")]
                return any(part.get(NAME, {}).get("p", {}).get("happiness", 0) > 0.5 for part in told)

            wait_for(joined, "who smiles")
            with agent.http(Authorization=f"Bearer {agent.token}") as http:
                assert NAME in [p["name"] for p in http.get("/api/v1/people").json()["people"]]
            with agent.http(Authorization=f"Bearer {agent.token}") as http:
                answer = http.post("/video-stream/face-recognition", content=film.read_bytes(), timeout=60)
                assert answer.json()["recognized"] == [NAME]
            picture = Path(photos[1]).read_bytes()
            with connect(f"ws://127.0.0.1:{agent.port}/ws/face-recognition?token={agent.token}") as socket:

                def recognised() -> bool:
                    socket.send(picture)
                    told = json.loads(socket.recv(30))
                    assert told["faces"][0]["status"] in ("undecided", "known"), told
                    return bool(told["recognized"] == [NAME])

                assert not recognised(), "one picture is not enough"
                wait_for(recognised, "the name", 30)
                forget = ("people", "forget", NAME, "--yes", "--config", str(agent.config))
                assert people_cli(*forget, EDGE_AGENT__DEVICE__STATE_DIR=str(agent.state)).returncode == 0
                assert not recognised(), "an open connection forgets, too"
        finally:
            agent.end()
