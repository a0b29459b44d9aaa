"""The durable buffer between the summariser and whoever takes delivery; the only owner of sqlite3."""

from edge_agent.delivery.outbox.outbox import Outbox
from edge_agent.delivery.outbox.records import Merge, Origin

__all__ = ["Merge", "Origin", "Outbox"]
