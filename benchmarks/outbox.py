"""What a second of upkeep costs with many rows waiting: clock repair, expiry and figures, and asking for backlog that
the broker refuses, all under the lock that storing a new window waits for.

    python benchmarks/outbox.py [ROWS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.domain.clock import ManualClock
from tests.support.outboxes import MQTT, make_outbox
from tests.support.windows import summary_draft

ROUNDS = 50


def milliseconds(step: Callable[[], object]) -> float:
    """The median of :data:`ROUNDS` calls."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return 1e3 * median(taken)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    clock = ManualClock(wall=1_780_000_000.0)
    with tempfile.TemporaryDirectory() as folder:
        outbox = make_outbox(Path(folder), clock=clock, max_mb=256.0)
        for k in range(0, rows, 500):
            outbox.put([summary_draft(10.0 * i) for i in range(k, k + 500)])
        clock.advance(3600.0)
        print(f"{rows} rows waiting")
        print(f"upkeep (each second):              {milliseconds(outbox.maintain):7.3f} ms")
        print(f"figures (each second):             {milliseconds(outbox.stats):7.3f} ms")
        refused = milliseconds(lambda: outbox.lease(MQTT, 256, 15.0, ["summary"]))
        print(f"backlog refused (each 0.25 s):     {refused:7.3f} ms")
        print(f"{'balanced' if outbox.stats().balanced else 'NOT BALANCED'}")
        outbox.close()


if __name__ == "__main__":
    main()
