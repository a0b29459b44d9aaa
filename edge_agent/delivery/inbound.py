"""Messages from the broker, handed to their handlers on a thread of ours; the queue is bounded, overflow counted."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.topics import matches

log = logging.getLogger(__name__)

Handler = Callable[[InboundMessage], None]

QUEUED = 64


class Dispatcher:
    """Calls handlers one message at a time. A handler that raises is logged; the next message comes all the same."""

    def __init__(self) -> None:
        self._queue: queue.Queue[InboundMessage | None] = queue.Queue(QUEUED)
        self._handlers: list[tuple[str, Handler]] = []
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def add(self, topic_filter: str, handler: Handler) -> None:
        """Call ``handler`` for messages whose topic matches."""
        self._handlers.append((topic_filter, handler))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mqtt-inbound", daemon=True)
            self._thread.start()

    def offer(self, message: InboundMessage) -> None:
        """Enqueue; never blocks."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.dropped += 1

    def stop(self, timeout: float) -> None:
        """Finish the message in hand and end."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return  # the handler hangs; the thread is a daemon
        self._thread.join(timeout)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            for topic_filter, handler in list(self._handlers):
                if matches(topic_filter, message.topic):
                    self._call(handler, message)

    def _call(self, handler: Handler, message: InboundMessage) -> None:
        try:
            handler(message)
        except Exception:  # whatever a message makes a handler do, the next message must be served
            log.exception("handling a message on %s", message.topic)
