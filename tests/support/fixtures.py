"""Fixtures around real brokers. Registered once for all tests (``-p tests.support.fixtures``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from edge_agent.delivery import DeliveryService
from edge_agent.domain.clock import Clock
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.mosquitto import Mosquitto
from tests.support.subscriber import Subscriber
from tests.support.windows import EarlyClock


class MakeBroker(Protocol):
    """Starts a mosquitto that ends with the test."""

    def __call__(self, **options: Any) -> Mosquitto: ...


class MakeDelivery(Protocol):
    """Starts a DeliveryService towards a port; it ends with the test."""

    def __call__(
        self, port: int, *, clock: Clock | None = None, boot_id: str = "b0071d00", **mqtt: Any
    ) -> DeliveryService: ...


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Starts mosquittos of this test's own; see :class:`tests.support.mosquitto.Mosquitto` for the options."""
    if not Mosquitto.available():
        pytest.skip("needs the mosquitto broker (Debian: apt install mosquitto)")
    brokers: list[Mosquitto] = []

    def make(**options: Any) -> Mosquitto:
        broker = Mosquitto(tmp_path / f"mosquitto-{len(brokers)}", **options)
        brokers.append(broker)
        return broker.start()

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(make_broker: MakeBroker) -> Mosquitto:
    """A plain mosquitto."""
    return make_broker()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    """Hears everything on ``broker``."""
    with Subscriber(broker.port) as listening:
        yield listening


@pytest.fixture
def make_delivery(tmp_path: Path) -> Iterator[MakeDelivery]:
    """Starts delivery services with the state directory ``tmp_path / "state"``; keywords are ``[mqtt]`` options, and
    ``outbox={...}`` and ``device={...}``.
    """
    services: list[DeliveryService] = []

    def make(port: int, *, clock: Clock | None = None, boot_id: str = "b0071d00", **mqtt: Any) -> DeliveryService:
        outbox, device = mqtt.pop("outbox", {}), mqtt.pop("device", {})
        settings = Settings(
            device={"id": "kiosk-1", "state_dir": str(tmp_path / "state"), **device},
            mqtt={"port": port, **mqtt} if "hosts" in mqtt else {"host": "127.0.0.1", "port": port, **mqtt},
            outbox=outbox,
        )
        service = DeliveryService(settings, clock or EarlyClock(), boot_id, {"version": "0"}, merge_summaries)
        services.append(service)
        service.start()
        return service

    yield make
    for service in services:
        service.stop(1.5)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """``eventually(condition, timeout=20)``: the first true value of ``condition()``, within that many seconds."""

    def wait(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
            time.sleep(0.02)
        return value

    return wait
