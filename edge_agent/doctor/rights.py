"""Checks of permissions on the broker: publish on every kind of topic and receive the message again.

Over MQTT 3.1.1 a broker acknowledges even a publish that its access list forbids, so only the message that comes back
proves anything. A topic with a retained message gets the same message again, not retained, which tells subscribers
nothing new; other topics get a small document with a random number.
"""

from __future__ import annotations

import json
import queue
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from edge_agent.delivery import topics
from edge_agent.delivery.commands import COMMANDS, FILTER
from edge_agent.delivery.diagnostics import reason
from edge_agent.delivery.link import (
    Connected,
    Disconnected,
    InboundMessage,
    Outgoing,
    Published,
    Report,
    Subscribed,
)
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.settings import Settings

ANSWER_S = 10.0
ECHO_S = 3.0
"""Seconds to wait for messages to come back after the last acknowledgement."""

SETTLED_S = 0.4
"""Seconds without a message after which all retained messages have arrived."""

DOCTOR = "doctor"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A test message. ``code``: reason code of the PUBACK, None without one; ``returned``: the message came back."""

    topic: str
    code: int | None
    returned: bool
    ending: str = ""


def published(settings: Settings) -> list[str]:
    """List one topic of every kind that an agent with ``settings`` publishes on."""
    names = topics.Topics(settings.mqtt.prefix, settings.device.id)
    kinds = [topics.STATUS, topics.INFO, topics.STATE, topics.HEALTH, topics.SUMMARY, topics.GAPS]
    kinds += [topics.rollup(level) for level in settings.summary.rollups[:1]]
    kinds += [topics.event(DOCTOR), topics.backfill("summary"), topics.backfill("event")]
    kinds += [topics.PACING] if settings.pacing.explain else []
    kinds += [topics.CONFIG] if settings.device.publish_config else []
    kinds += [f"{COMMANDS}/{DOCTOR}/response"] if settings.commands.enabled else []
    return [names.full(kind) for kind in kinds]


def subscribed(settings: Settings) -> list[str]:
    """List the topic filters that an agent with ``settings`` subscribes to."""
    names = topics.Topics(settings.mqtt.prefix, settings.device.id)
    found = [names.full(kind) for kind in (topics.STATUS, topics.INFO, topics.SUMMARY)]
    found = found if settings.mqtt.detect_namesakes else []
    found += [names.full(FILTER)] if settings.commands.enabled else []
    return found + ([topics.birth(settings.home_assistant.prefix)] if settings.home_assistant.enabled else [])


def check_rights(
    settings: Settings,
    link: MqttLink,
    session: Connected,
    reports: queue.Queue[Report],
    inbox: queue.Queue[InboundMessage],
) -> Iterator[CheckResult]:
    """Check publishing and subscribing over ``link``, which is connected in ``session``."""
    names = topics.Topics(settings.mqtt.prefix, settings.device.id)
    everything = names.full("#")
    wanted = subscribed(settings)
    asked = [everything, *wanted]
    if settings.home_assistant.enabled:
        asked.append(topics.discovery(settings.home_assistant.prefix, "device", settings.device.id))
    codes = _subscribe(link, reports, asked)
    trial = _Trial(link, session, reports, inbox)
    tried = published(settings)
    command = names.full(f"{COMMANDS}/{DOCTOR}")
    if settings.home_assistant.enabled:
        tried.append(_discovery(settings, trial))
    attempts = trial.run([*tried, command] if settings.commands.enabled else tried)
    yield judge(everything, session.protocol, [a for a in attempts if a.topic != command])
    refused = {topic_filter: code for topic_filter, code in codes.items() if code >= 0x80 and topic_filter in wanted}
    echo = next((attempt for attempt in attempts if attempt.topic == command), None)
    if wanted:
        yield judge_reading(wanted, refused, echo, names.full(FILTER))


def _discovery(settings: Settings, trial: _Trial) -> str:
    """Return the discovery topic if it has a retained config to repeat; else one that Home Assistant does not read."""
    topic = topics.discovery(settings.home_assistant.prefix, "device", settings.device.id)
    return topic if topic in trial.retained() else f"{topic.rpartition('/')[0]}/{DOCTOR}"


def _subscribe(link: MqttLink, reports: queue.Queue[Report], filters: Collection[str]) -> dict[str, int]:
    """Subscribe to ``filters`` and return the broker's reason codes; filters without an answer are missing."""
    for topic_filter in filters:
        link.subscribe(topic_filter)
    codes: dict[str, int] = {}
    while len(codes) < len(set(filters)):
        report = next_report(reports, ANSWER_S, lambda report: isinstance(report, Subscribed | Disconnected))
        if not isinstance(report, Subscribed):
            break
        for topic_filter, code in report.answers:
            codes.setdefault(topic_filter, code)
    return codes


class _Trial:
    """Publish test messages and collect those that come back."""

    def __init__(
        self,
        link: MqttLink,
        session: Connected,
        reports: queue.Queue[Report],
        inbox: queue.Queue[InboundMessage],
    ) -> None:
        self._link = link
        self._session = session
        self._reports = reports
        self._inbox = inbox
        self._kept: dict[str, bytes] = {}
        self._heard: set[tuple[str, bytes]] = set()

    def retained(self) -> dict[str, bytes]:
        """Return the retained messages on this device's topics."""
        while self._listen(SETTLED_S):
            pass
        return self._kept

    def run(self, tried: Collection[str]) -> list[Attempt]:
        """Publish on each of ``tried``, and wait for the messages to come back."""
        kept, nonce = self.retained(), secrets.token_hex(8)
        sent: dict[str, bytes] = {}
        codes: dict[str, int | None] = {}
        ending = ""
        for token, topic in enumerate(tried, 1):
            # Retained commands are not repeated: an agent refuses them.
            sent[topic] = kept.get(topic) or json.dumps({"v": 1, DOCTOR: nonce}).encode()
            self._link.publish(self._session.session, [Outgoing(token, topic, sent[topic], retain=False)])
            answer = next_report(self._reports, ANSWER_S, lambda r: isinstance(r, Published | Disconnected))
            codes[topic] = answer.acks[0][1] if isinstance(answer, Published) and answer.acks else None
            if codes[topic] is None:
                ending = answer.reason if isinstance(answer, Disconnected) else "no acknowledgement"
                break
        self._await({(topic, payload) for topic, payload in sent.items() if (codes[topic] or 0) < 0x80})
        return [
            Attempt(topic, code, (topic, sent[topic]) in self._heard, "" if code is not None else ending)
            for topic, code in codes.items()
        ]

    def _await(self, wanted: set[tuple[str, bytes]]) -> None:
        deadline = time.monotonic() + ECHO_S
        while not wanted <= self._heard and (left := deadline - time.monotonic()) > 0:
            self._listen(left)

    def _listen(self, seconds: float) -> bool:
        try:
            message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return False
        if message.retain:
            self._kept[message.topic] = message.payload
        else:
            self._heard.add((message.topic, message.payload))
        return True


def judge(everything: str, protocol: str, attempts: Collection[Attempt]) -> CheckResult:
    """Judge the ``attempts`` to publish. ``everything``: filter of all topics of this device."""
    name = "broker publish"
    remedy = f"allow this user to write and read {everything} (mosquitto, acl_file: topic readwrite {everything})"
    if hung := [attempt for attempt in attempts if attempt.code is None]:
        return fail(name, f"{hung[0].topic}: {hung[0].ending}", remedy)
    if refused := [attempt for attempt in attempts if (attempt.code or 0) >= 0x80]:
        return fail(name, f"{_topics(refused)}: the broker refuses: {reason(refused[0].code or 0)}", remedy)
    lost = [attempt for attempt in attempts if not attempt.returned]
    if not lost:
        return ok(name, f"on {len(attempts)} topics, and all came back")
    swallowed = f"{_topics(lost)}: the broker acknowledged but did not deliver: an access list (ACL) forbids it"
    if len(lost) < len(attempts):
        return fail(name, swallowed, remedy)
    if protocol == "5":
        return warn(name, f"accepted, but nothing came back: this user may not read {everything}", remedy)
    return fail(name, f"{swallowed}, or to read it", f"{remedy}; over MQTT 3.1.1 a broker cannot say what it forbids")


def judge_reading(
    wanted: Collection[str], refused: dict[str, int], command: Attempt | None, commands: str
) -> CheckResult:
    """What the broker said to the filters ``wanted``, and what became of a test ``command``."""
    name = "broker subscribe"
    if refused:
        first = next(iter(refused))
        more = "" if first == commands else ", or set mqtt.detect_namesakes = false"
        detail = f"{', '.join(refused)}: the broker refuses: {reason(refused[first])}"
        return fail(name, detail, f"allow this user to read {first}{more}")
    detail = f"{len(wanted)} subscriptions"
    if command is None or command.returned:
        return ok(name, detail)
    if command.code is not None and command.code >= 0x80:
        return ok(
            name, f"{detail}; commands cannot be tried, because this user may not send them, which is as it should be"
        )
    remedy = f"allow this user to read {commands}; then send a command: mosquitto_pub -t {command.topic} -m x"
    return warn(
        name, f"{detail}; a test command did not arrive: this user may not send commands, or not read them", remedy
    )


def _topics(attempts: Collection[Attempt], shown: int = 3) -> str:
    names = [attempt.topic for attempt in attempts]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def next_report(reports: queue.Queue[Report], seconds: float, wanted: Callable[[Report], bool]) -> Report | None:
    """Wait for the first wanted report; None when no report comes for ``seconds``."""
    while True:
        try:
            report = reports.get(timeout=seconds)
        except queue.Empty:
            return None
        if wanted(report):
            return report
