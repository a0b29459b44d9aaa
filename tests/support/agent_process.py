"""An agent's delivery in a process of its own, to be killed: submits a summary every few milliseconds until it dies.

``python -m tests.support.agent_process --state DIR --port PORT --boot ID``; prints ``connected`` once it is.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from edge_agent.delivery import DeliveryService
from edge_agent.delivery.outbox import Outbox
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.windows import EarlyClock, a_summary


def _die_instead_of_acking(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run until killed, or until ``--count`` summaries are submitted and acknowledged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--boot", required=True)
    parser.add_argument("--every", type=float, default=0.002)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--keepalive", type=int, default=5)
    parser.add_argument("--die-between-puback-and-delete", action="store_true")
    options = parser.parse_args()
    if options.die_between_puback_and_delete:
        Outbox.ack = _die_instead_of_acking  # type: ignore[method-assign]
    settings = Settings(
        device={"id": "kiosk-1", "state_dir": options.state},
        mqtt={"host": "127.0.0.1", "port": options.port, "keepalive_s": options.keepalive},
    )
    delivery = DeliveryService(settings, EarlyClock(), options.boot, {"version": "0"}, merge_summaries)
    delivery.start()
    told = False
    for k in range(options.count):
        delivery.submit_summary(a_summary(10.0 * k))
        if not told and delivery.stats().connected:
            told = True
            sys.stdout.write("connected\n")
            sys.stdout.flush()
        time.sleep(options.every)
    while delivery.stats().outbox.pending:  # type: ignore[union-attr]
        time.sleep(0.01)
    delivery.stop(5.0)


if __name__ == "__main__":
    main()
