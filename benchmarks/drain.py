"""How fast a backlog drains through the whole of delivery, as a ratio to plain paho on the same broker in the same run.

    python -m benchmarks.drain [--windows 8640] [--runs 5]

Needs the Debian package mosquitto. The ratio carries over to other machines, the rates do not; on a busy machine single
runs vary, so the median counts.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from tests.support.drain import measure
from tests.support.mosquitto import Mosquitto


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=8_640, help="windows of 10 s that were buffered: 8640 are a day")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("| windows | ours, rows/s | plain paho, rows/s | ratio | ratio of processor time | in order |")
    print("| --- | --- | --- | --- | --- | --- |")
    outcomes = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder) / "mosquitto") as broker:
            outcome = measure(Path(folder), broker.port, options.windows, max_mb=64.0)
        ours, paho = outcome.rows / outcome.seconds, outcome.rows / outcome.paho_seconds
        ratios = f"{outcome.ratio:.2f} | {outcome.cpu_ratio:.2f}"
        print(f"| {outcome.windows} | {ours:.0f} | {paho:.0f} | {ratios} | {outcome.in_order} |", flush=True)
        outcomes.append(outcome)
    ratio, cpu_ratio = median(o.ratio for o in outcomes), median(o.cpu_ratio for o in outcomes)
    print(f"median ratio {ratio:.2f}, of processor time {cpu_ratio:.2f}")


if __name__ == "__main__":
    main()
