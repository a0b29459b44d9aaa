"""The demo's broker: amqtt, a broker in pure Python, on a loopback port of its own thread. Speaks MQTT 3.1.1 only."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import threading
from types import TracebackType
from typing import Any

from edge_agent.domain.errors import EdgeAgentError

START_WITHIN = 15.0


class BrokerError(EdgeAgentError):
    """The embedded broker is not installed or does not start."""


class EmbeddedBroker:
    """A context in which a broker accepts anonymous clients on ``127.0.0.1:port``."""

    def __init__(self) -> None:
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> EmbeddedBroker:
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self._thread.start()
        if not self._started.wait(START_WITHIN):
            raise BrokerError(f"the embedded broker did not start within {START_WITHIN:.0f} s")
        if self._failure is not None:
            raise BrokerError(f"the embedded broker did not start: {self._failure}") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - handed to the starting thread, which raises it
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        try:
            broker_class: Any = importlib.import_module("amqtt.broker").Broker
        except ImportError:
            raise BrokerError("the demo needs the extra 'demo': pip install 'edge-emotion-agent[demo]'") from None
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.port = _free_port()
        broker = broker_class(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
