"""Whether devices lose anything when nodes of a cluster of three brokers are killed in turn.

Real nats-servers (Debian's ``nats-server``, JetStream, MQTT 3.1.1), real delivery stacks with ``mqtt.hosts``, and a
witness on the node that stays.

python benchmarks/cluster.py [KILLS] [DEVICES]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.delivery import DeliveryService
from edge_agent.settings import Settings
from edge_agent.summary.summariser import merge_summaries
from tests.support.cluster import NatsCluster
from tests.support.payloads import key, validated
from tests.support.subscriber import Subscriber
from tests.support.windows import EarlyClock, a_summary

EVERY_S = 0.2
"""Time between two summaries of a device: fifty times as often as by default."""

UP_S, DOWN_S, PATIENCE_S = 12.0, 8.0, 180.0
"""How long a node is up before it is killed, and down before it comes back; longest wait for the rest at the end."""


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    logging.getLogger("edge_agent").setLevel("ERROR")
    with tempfile.TemporaryDirectory() as folder, NatsCluster(Path(folder) / "cluster") as cluster:
        devices = [_device(Path(folder), cluster.ports, n) for n in range(count)]
        witness = Subscriber(
            cluster.ports[2], "edge-agent/#", client_id="witness", version=MQTTProtocolVersion.MQTTv311
        )
        with witness:
            made, pauses = _kill(cluster, devices, kills)
            deadline = time.monotonic() + PATIENCE_S
            while any(d.stats().outbox.pending for d in devices) and time.monotonic() < deadline:
                time.sleep(0.5)
            time.sleep(2.0)  # the last acknowledged message is on its way to the witness
            _tell(witness, devices, made, pauses, kills)
        for device in devices:
            device.stop(1.0)


def _device(folder: Path, ports: list[int], n: int) -> DeliveryService:
    """A device whose list of hosts begins with node ``n % 3``."""
    first = n % len(ports)
    hosts = [f"127.0.0.1:{port}" for port in ports[first:] + ports[:first]]
    about = {"id": f"kiosk-{n}", "state_dir": str(folder / f"kiosk-{n}")}
    settings = Settings(device=about, mqtt={"hosts": hosts, "return_s": 5})
    service = DeliveryService(settings, EarlyClock(), "b0071d00", {"version": "0"}, merge_summaries)
    service.start()
    return service


def _kill(cluster: NatsCluster, devices: list[DeliveryService], kills: int) -> tuple[int, list[float]]:
    """Publish while nodes 0 and 1 are killed and started in turn; summaries of each device, and longest standstills."""
    made, last = 0, [0] * len(devices)
    moved = [time.monotonic()] * len(devices)
    pauses = [0.0] * len(devices)
    for round_ in range(kills):
        for down in (False, True):
            if down:
                cluster.kill(round_ % 2)
            end = time.monotonic() + (DOWN_S if down else UP_S)
            while time.monotonic() < end:
                made += 1
                for n, device in enumerate(devices):
                    device.submit_summary(a_summary(10.0 * made))
                    acked = device.stats().outbox.counters.acked
                    now = time.monotonic()
                    pauses[n] = max(pauses[n], now - moved[n])
                    if acked != last[n]:
                        last[n], moved[n] = acked, now
                time.sleep(EVERY_S)
        cluster.start(round_ % 2)
    return made, pauses


def _tell(witness: Subscriber, devices: list[DeliveryService], made: int, pauses: list[float], kills: int) -> None:
    found = [(m.topic, key(validated(m.payload))) for m in list(witness.messages) if m.topic.endswith("summary")]
    copies = Counter(which for _topic, which in found)
    wanted = {(f"kiosk-{n}", "b0071d00", seq) for n in range(len(devices)) for seq in range(1, made + 1)}
    order: dict[str, dict[int, None]] = defaultdict(dict)
    for topic, (_device, _boot, seq) in found:
        order[topic].setdefault(seq)
    inverted = sum(list(seqs) != sorted(seqs) for seqs in order.values())
    print(f"{kills} kills, {len(devices)} devices, {len(wanted)} summaries")
    print(f"lost {len(wanted - copies.keys())}, copies beyond the first {sum(copies.values()) - len(copies)}")
    print(f"topics out of order {inverted} of {len(order)}")
    middle = sorted(pauses)[len(pauses) // 2]
    print(f"longest standstill of a device {max(pauses):.1f} s, median over devices {middle:.1f} s")
    print(f"waiting at the end {sum(device.stats().outbox.pending for device in devices)}")


if __name__ == "__main__":
    main()
