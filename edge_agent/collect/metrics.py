"""Count what the collector does, and serve the figures as Prometheus text on the configured address."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edge_agent.collect.writer import Written
from edge_agent.domain.errors import ConfigError


@dataclass(slots=True)
class CollectorFigures:
    """What the collector did since its start."""

    windows: int = 0
    events: int = 0
    repeated: int = 0
    corrected: int = 0
    rejected: int = 0
    states: int = 0
    batches: int = 0
    database_failures: int = 0
    disconnections: int = 0
    connected: bool = False
    leader: bool = False
    database: str | None = "not connected yet"

    def add(self, outcome: Written) -> None:
        """Count what became of a batch."""
        for name in Written.__slots__:
            setattr(self, name, getattr(self, name) + getattr(outcome, name))


_COUNTERS = {
    "windows": "Windows stored.",
    "events": "Events stored.",
    "repeated": "Messages that were stored before.",
    "corrected": "Messages that were moved to their right time.",
    "rejected": "Messages that could not be stored.",
    "states": "States of devices written.",
    "batches": "Transactions.",
    "database_failures": "Failures of the database.",
    "disconnections": "Ends of the connection to the broker.",
}


def exposition(figures: CollectorFigures, waiting: int) -> str:
    """The figures in Prometheus' text format; ``waiting``: messages taken and not committed yet."""
    lines = []
    for name, text in _COUNTERS.items():
        metric = f"edge_agent_collect_{name}_total"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter", f"{metric} {getattr(figures, name)}"]
    gauges = {
        "waiting": ("Messages taken from the broker and not committed yet.", waiting),
        "broker_up": ("1: connected to the broker.", int(figures.connected)),
        "database_up": ("1: the database takes what comes.", int(figures.database is None)),
        "leader": ("1: this collector reads the state of devices and applies the retention.", int(figures.leader)),
    }
    for name, (text, value) in gauges.items():
        metric = f"edge_agent_collect_{name}"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge", f"{metric} {value}"]
    return "\n".join(lines) + "\n"


def serve(address: str, render: Callable[[], str]) -> ThreadingHTTPServer:
    """Serve what ``render`` returns on ``/metrics`` of ``address`` (``host:port``), on threads of its own.

    Raises:
        ConfigError: the address cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.split("?")[0] == "/metrics"
            body = (render() if found else "metrics are at /metrics\n").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Log nothing."""

    host, _, port = address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise ConfigError(f"reading.metrics: cannot listen on {address}: {error.strerror or error}") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
