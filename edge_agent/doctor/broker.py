"""Checks of the way to the broker in stages, so that the first one that fails names the cause: name, TCP, TLS, login,
publish. The last two go over the agent's own connection code under a client id of their own, beside a running agent.
"""

from __future__ import annotations

import queue
import socket
import ssl
from collections.abc import Callable, Iterator

from edge_agent.delivery.credentials import tls_context
from edge_agent.delivery.link import Connected, Disconnected, Outgoing, Published, Report
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.delivery.topics import Topics
from edge_agent.doctor.result import CheckResult, CheckStatus, fail, ok, warn
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import MqttSettings, Settings

CONNECT_S = 5.0
LOGIN_S = 25.0
"""Enough for MQTT 5 to be refused and 3.1.1 to be tried, each with the link's own patience."""

PUBLISH_S = 10.0

TOPIC = "doctor"
"""Where the test message goes; not retained, and no subscriber of ours listens there."""


def check_broker(settings: Settings) -> Iterator[CheckResult]:
    """One result for each stage reached; the first failure is the last."""
    mqtt = settings.mqtt
    if not mqtt.enabled:
        yield ok("broker", "off: mqtt.enabled = false")
        return
    for stage in (_name, _connection, _encryption):
        result = stage(mqtt)
        if result is not None:
            yield result
            if result.status is CheckStatus.FAIL:
                return
    yield from _session(settings)


def _name(mqtt: MqttSettings) -> CheckResult:
    try:
        found = socket.getaddrinfo(mqtt.host, mqtt.effective_port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        return fail(
            "broker name", f"{mqtt.host} cannot be resolved: {reason}", f"getent hosts {mqtt.host}; see mqtt.host"
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    return ok("broker name", f"{mqtt.host} is {', '.join(addresses)}")


def _connection(mqtt: MqttSettings) -> CheckResult:
    where = f"{mqtt.host} port {mqtt.effective_port}"
    try:
        socket.create_connection((mqtt.host, mqtt.effective_port), CONNECT_S).close()
    except ConnectionRefusedError:
        remedy = "start the broker there (systemctl status mosquitto), or set mqtt.port"
        return fail("broker connection", f"{where}: nothing listens", remedy)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return fail("broker connection", f"{where}: {reason}", f"ping -c 3 {mqtt.host}; look for a firewall between")
    return ok("broker connection", where)


def _encryption(mqtt: MqttSettings) -> CheckResult | None:
    if not mqtt.tls.enabled:
        if _is_local(mqtt.host):
            return None
        detail = "off: names, passwords and summaries travel readable"
        return warn("broker encryption", detail, "set mqtt.tls.enabled = true and open port 8883 on the broker")
    try:
        context = tls_context(mqtt.tls)
        with (
            socket.create_connection((mqtt.host, mqtt.effective_port), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=mqtt.host) as tls,
        ):
            certificate = tls.getpeercert() or {}
            return ok(
                "broker encryption", f"{tls.version()}, certificate valid until {certificate.get('notAfter', '?')}"
            )
    except ConfigError as error:
        return fail("broker encryption", str(error), "correct mqtt.tls")
    except ssl.SSLCertVerificationError as error:
        remedy = "set mqtt.tls.ca_file to the broker's CA, mqtt.host to the name in its certificate; check the clock"
        return fail("broker encryption", f"the certificate is not accepted: {error.verify_message}", remedy)
    except OSError as error:  # SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        remedy = "a broker without TLS on this port? set mqtt.tls.enabled = false or mqtt.port"
        return fail("broker encryption", f"the TLS handshake failed: {reason}", remedy)


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _session(settings: Settings) -> Iterator[CheckResult]:
    mqtt, device = settings.mqtt, settings.device.id
    reports: queue.Queue[Report] = queue.Queue()
    client_id = f"{mqtt.client_id or f'edge-agent-{device}'}-doctor"
    link = MqttLink(mqtt, client_id, None, reports.put, lambda _message: None)
    link.start()
    try:
        connected = _next(reports, LOGIN_S, lambda report: not isinstance(report, Published))
        if not isinstance(connected, Connected):
            reason = connected.reason if isinstance(connected, Disconnected) else "no answer"
            remedy = "check mqtt.username and the password (password_file, or the credential mqtt-password)"
            yield fail("broker login", reason, remedy)
            return
        yield ok("broker login", f"MQTT {connected.protocol} as {mqtt.username or 'anonymous'}")
        topic = Topics(mqtt.prefix, device).full(TOPIC)
        link.publish(connected.session, [Outgoing(1, topic, b"{}", retain=False)])
        answer = _next(reports, PUBLISH_S, lambda report: not isinstance(report, Connected))
        yield judge_publish(topic, answer)
    finally:
        link.stop(2.0)


def judge_publish(topic: str, answer: Report | None) -> CheckResult:
    """``answer``: what came after a test message was sent to ``topic``; None: nothing in time."""
    remedy = f"allow the user to write below {topic.rpartition('/')[0]}/# (mosquitto: acl_file)"
    if isinstance(answer, Published):
        code = answer.acks[0][1]
        if code >= 0x80:
            return fail("broker publish", f"{topic} is refused with reason code 0x{code:02x}", remedy)
        return ok("broker publish", f"{topic} is accepted")
    reason = answer.reason if isinstance(answer, Disconnected) else "no acknowledgement"
    return fail("broker publish", f"{topic}: {reason}", remedy)


def _next(reports: queue.Queue[Report], seconds: float, wanted: Callable[[Report], bool]) -> Report | None:
    """The first wanted report, None when none comes within ``seconds`` of the one before."""
    while True:
        try:
            report = reports.get(timeout=seconds)
        except queue.Empty:
            return None
        if wanted(report):
            return report
