"""The durable outbox between the summariser and the consumers, MQTT and sinks; the only package that uses sqlite3."""

from edge_agent.delivery.outbox.outbox import Outbox
from edge_agent.delivery.outbox.records import Merge, Origin

__all__ = ["Merge", "Origin", "Outbox"]
