"""How long a fleet takes to return after an outage of its broker: real connections to a real mosquitto.

python benchmarks/reconnect.py [AGENTS] [OUTAGE_S]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.delivery.link import Connected, Report
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.settings import MqttSettings
from tests.support.mosquitto import Mosquitto

PATIENCE_S = 150.0


def _noting(back: dict[int, float], number: int) -> Callable[[Report], None]:
    def report(what: Report) -> None:
        if isinstance(what, Connected):
            back[number] = time.monotonic()

    return report


def main() -> None:
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    outage = float(sys.argv[2]) if len(sys.argv) > 2 else 90.0
    back: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder) / "broker") as broker:
        settings = MqttSettings(host=broker.host, port=broker.port)
        links = [MqttLink(settings, f"agent-{k}", None, _noting(back, k), lambda _message: None) for k in range(agents)]
        for link in links:
            link.start()
        _wait(back, agents)
        broker.stop()
        back.clear()
        time.sleep(outage)
        broker.start()
        start = time.monotonic()
        _wait(back, agents)
        waits = sorted(moment - start for moment in back.values())
        print(f"{len(waits)} of {agents} agents back after {outage:g} s without a broker")
        print(f"median {median(waits):.1f} s, last {waits[-1]:.1f} s")
        for link in links:
            link.stop(1.0)


def _wait(back: dict[int, float], agents: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(back) < agents and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
