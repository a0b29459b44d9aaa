"""The described API against the described answers: every operation, asked in ways that schemathesis makes up."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from edge_agent.app import health
from edge_agent.app.agent import Agent
from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.health import Vitals
from edge_agent.domain.event import BURST, Event
from edge_agent.live import EventBus
from edge_agent.payloads.rendering import event_document, summary_document
from edge_agent.runtime.machine import process_use
from edge_agent.settings import ConfigText
from edge_agent.web.server import live_api
from tests.support.web_side import BEARER, TOKEN, Web, live_of
from tests.support.windows import a_summary

WALL = 1_780_000_000.0


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    found = Web(tmp_path_factory.mktemp("state"))
    for k in range(20):
        found.bus.publish("summary", summary_document(a_summary(10.0 * k), "kiosk-1", "b0071d00", 2 * k + 1))
        event = Event(BURST, "cough", 0.97, 10.0 * k, 0.8)
        found.bus.publish("event", event_document(event, WALL + 10.0 * k, "synced", "kiosk-1", "b0071d00", 2 * k + 2))
    delivery = found.agent.delivery.stats().document()
    found.bus.publish("health", health.document(Vitals(9.0, (), (), {}, (), process_use(), delivery)))
    yield found
    found.stop()


def _description() -> dict[str, Any]:
    """The description as an agent without devices serves it."""
    with tempfile.TemporaryDirectory() as state:
        config = ConfigText("test", f'[device]\nstate_dir = "{state}"\n[plugins]\nallow = []\n')
        settings = config.settings()
        agent = Agent(settings, PipelineBuilder(config, settings), bus=EventBus())
        return live_api(live_of(agent), agent.remote.handlers).openapi()


DESCRIBED = schemathesis.openapi.from_dict(_description())
DESCRIBED.config.generation.update(allow_extra_parameters=False)  # what is not known in a query is passed over
OPERATIONS = {found.ok().label: found.ok() for found in DESCRIBED.get_all_operations()}
NOT_IN_WORDS = {"GET /api/v1/analytics": [positive_data_acceptance]}
"""What a description cannot say: there, that ``since`` must be before ``until``, and by how much."""


def test_the_served_description_is_the_described_one(web: Web) -> None:
    status, body = web.ask("GET", "/api/v1/openapi.json", BEARER)
    assert (status, json.loads(body)) == (200, DESCRIBED.raw_schema)


def test_the_interactive_documentation_comes_from_the_device(web: Web) -> None:
    """Behind the token; browsers without it get the form. Neither page nor scripts name another host."""
    assert web.ask("GET", "/docs")[0] == 401
    assert web.ask("GET", "/docs", "Accept: text/html")[0] == 303
    status, page = web.ask("GET", "/docs", BEARER)
    assert status == 200
    assert b"http" not in page
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.decode()):
        status, content = web.ask("GET", path)
        assert status == 200
        assert content


def test_probes_need_no_token(web: Web) -> None:
    for path in ("/health", "/healthz"):
        assert web.ask("GET", path) == (200, b'{"status":"ok"}')
        assert web.ask("HEAD", path) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/api/v1/summaries?since=x", "/api/v1/people?seconds=0", "/api/v1/analytics?since=soon&step=60"]
)
def test_invalid_parameters_are_refused_with_a_problem_document(web: Web, path: str) -> None:
    status, body = web.ask("GET", path, BEARER)
    problem = json.loads(body)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert problem["detail"].partition(":")[0] in path


@pytest.mark.parametrize("label", sorted(OPERATIONS))
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_operation_answers_as_described(web: Web, label: str, mode: schemathesis.GenerationMode) -> None:
    """Status, type, headers and body; refused without the token; what is wrong is refused, what is right is not."""
    operation = OPERATIONS[label]

    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(max_examples=10, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{web.port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=NOT_IN_WORDS.get(label),
        )

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:  # nothing can be wrong with such a request
        assert mode is schemathesis.GenerationMode.NEGATIVE
