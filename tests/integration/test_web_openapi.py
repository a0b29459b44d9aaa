"""The described API against the described answers: every operation, asked in ways that schemathesis makes up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from edge_agent.app import health
from edge_agent.app.health import Vitals
from edge_agent.domain.event import BURST, Event
from edge_agent.payloads.rendering import event_document, summary_document
from edge_agent.runtime.machine import process_use
from edge_agent.web.views import Views, openapi
from tests.support.web_side import TOKEN, Web
from tests.support.windows import a_summary

WALL = 1_780_000_000.0


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    found = Web(tmp_path_factory.mktemp("state"))
    for k in range(20):
        found.bus.publish("summary", summary_document(a_summary(10.0 * k), "kiosk-1", "b0071d00", 2 * k + 1))
        event = Event(BURST, "cough", 0.97, 10.0 * k, 0.8)
        found.bus.publish("event", event_document(event, WALL + 10.0 * k, "synced", "kiosk-1", "b0071d00", 2 * k + 2))
    delivery = asdict(found.agent.delivery.stats())
    found.bus.publish("health", health.document(Vitals(9.0, (), (), {}, (), process_use(), delivery)))
    yield found
    found.stop()


DESCRIBED = schemathesis.openapi.from_dict(openapi())
DESCRIBED.config.generation.update(allow_extra_parameters=False)  # what is not known in a query is passed over
OPERATIONS = {found.ok().label: found.ok() for found in DESCRIBED.get_all_operations()}
NOT_IN_WORDS = {"GET /api/v1/analytics": [positive_data_acceptance]}
"""What a description cannot say: there, that ``since`` must be before ``until``, and by how much."""


def test_everything_that_is_served_is_described(web: Web) -> None:
    served = {route.path for route in Views(web.live, web.agent.remote.handlers).routes()}
    assert served == {operation.path for operation in OPERATIONS.values()}


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
