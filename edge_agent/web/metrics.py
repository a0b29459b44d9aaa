"""Metrics of the agent for Prometheus, read from the event bus at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent.live.bus import Document, EventBus


class BusCollector(Collector):
    """Metrics of ``bus``: of the latest summary, of the health document and of who is in view.

    An unknown value has no sample, because 0 would mean that nobody is there; the reason is in
    ``edge_agent_unknown_seconds``.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        summary = self._bus.summaries()[-1:]
        health = self._bus.state("health")
        yield from _of_summary(summary[0]) if summary else ()
        yield from _of_health(health) if health is not None else ()
        yield from _of_presence(self._bus.state("presence") or {"count": None})


def render(bus: EventBus) -> bytes:
    """Render the metrics in the exposition format."""
    registry = CollectorRegistry()
    registry.register(BusCollector(bus))
    return generate_latest(registry)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_agent_{name}", meaning, value=value)


def _of_summary(summary: Document) -> Iterator[Metric]:
    faces, quality = summary["faces"], summary["quality"]
    if faces["max"] is not None:
        yield _gauge("people", "Mean number of people in the latest window.", faces["mean"])
        yield _gauge("people_max", "Most people together in the latest window.", faces["max"])
    unknown = GaugeMetricFamily(
        "edge_agent_unknown_seconds",
        "Seconds of the latest window in which people could not be seen, or sounds not be heard.",
        labels=("what", "why"),
    )
    for what, reasons in summary.get("unknown", {}).items():
        for why, seconds in reasons.items():
            unknown.add_metric((what, why), seconds)
    yield unknown
    yield _gauge("video_fps", "Frames captured a second in the latest window.", quality["video_fps"])
    yield _gauge("analysed_fps", "Frames analysed a second in the latest window.", quality["analysed_fps"])
    for stream, share in quality["coverage"].items():
        yield _gauge(f"coverage_{stream}", f"Share of the latest window with {stream}.", share)
    emotion = summary["emotion"]
    if emotion is not None:
        family = GaugeMetricFamily(
            "edge_agent_emotion", "Share of the expression in the latest window.", labels=("emotion",)
        )
        for name, share in emotion["p"].items():
            family.add_metric((name,), share)
        yield family
        yield _gauge("valence", "Valence of the latest window, -1 to 1.", emotion["valence"])


def _of_presence(presence: Document) -> Iterator[Metric]:
    if presence["count"] is not None:
        yield _gauge("people_in_view", "People in view now.", presence["count"])


def _of_health(health: Document) -> Iterator[Metric]:
    yield _gauge("healthy", "1 when nothing is wrong.", float(not health["problems"]))
    yield _gauge("problems", "Problems now.", len(health["problems"]))
    yield _gauge("uptime_seconds", "Since the agent's start.", health["uptime_s"])
    process = health["process"]
    yield CounterMetricFamily("edge_agent_cpu_seconds", "Processor time used.", value=process["cpu_s"])
    for name, unit, key in (("memory_megabytes", "Resident memory.", "rss_mb"), ("temperature_celsius", "", None)):
        value = process[key] if key else process["temperature_c"]
        if value is not None:
            yield _gauge(name, unit or "Hottest thermal zone.", value)
    delivery = health["delivery"]
    yield _gauge("mqtt_connected", "1 while there is a connection to the broker.", float(delivery["connected"]))
    outbox = delivery["outbox"]
    if outbox is not None:
        yield _gauge("outbox_pending", "Messages that wait for the broker.", outbox["pending"])
        for name, value in outbox["counters"].items():
            yield CounterMetricFamily(f"edge_agent_outbox_{name}", f"Messages {name} so far.", value=value)
