"""Deliver summaries and events: payloads, the durable outbox, MQTT and sinks, and the service that joins them."""

from edge_agent.delivery.diagnostics import DeliveryStats
from edge_agent.delivery.link import InboundMessage
from edge_agent.delivery.service import DeliveryService

__all__ = ["DeliveryService", "DeliveryStats", "InboundMessage"]
