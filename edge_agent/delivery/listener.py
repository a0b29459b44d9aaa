"""The other end: a subscriber that hears what an agent published, over the same kind of connection; it only listens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_agent.delivery.inbound import Dispatcher
from edge_agent.delivery.link import Disconnected, InboundMessage, Report
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.settings.mqtt import MqttSettings


@contextmanager
def listening(
    settings: MqttSettings,
    topic_filter: str,
    handler: Callable[[InboundMessage], None],
    on_trouble: Callable[[str], None] = lambda _reason: None,
) -> Iterator[None]:
    """While inside, ``handler`` gets every message on ``topic_filter``, on a thread of its own.

    Connects in the background and again whenever the connection is lost, under a random client id; ``on_trouble`` is
    told why there is none.
    """

    def report(what: Report) -> None:
        if isinstance(what, Disconnected):
            on_trouble(what.reason)

    dispatcher = Dispatcher()
    link = MqttLink(settings, f"edge-agent-watch-{secrets.token_hex(4)}", None, report, dispatcher.offer)
    dispatcher.add(topic_filter, handler)
    link.subscribe(topic_filter)
    link.start()
    try:
        yield
    finally:
        link.stop(1.0)
        dispatcher.stop(1.0)
