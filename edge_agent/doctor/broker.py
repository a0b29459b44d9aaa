"""Checks of the connection to the broker in stages: host name, TCP, TLS, login, permissions.

The first stage that fails names the cause. Login and permissions use the agent's own connection code, under a client id
of their own, so that a running agent is not disturbed.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace

from edge_agent.delivery.diagnostics import tls_reason
from edge_agent.delivery.link import Connected, Disconnected, InboundMessage, Report
from edge_agent.delivery.mqtt import MqttLink
from edge_agent.delivery.session import tls_context
from edge_agent.doctor.result import CheckResult, CheckStatus, fail, ok, warn, worst
from edge_agent.doctor.rights import check_rights, next_report
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import MqttSettings, Settings

CONNECT_S = 5.0
LOGIN_S = 25.0
"""Long enough for MQTT 5 to be refused and 3.1.1 to be tried, each with the link's own time limit."""

PROBE_S = 3.0
CLIENT_CERTIFICATE = "set mqtt.tls.cert_file and mqtt.tls.key_file to a pair that the broker's CA signed"

ALERT_S = 1.0
"""How long to wait for the broker's TLS alert, which follows the handshake when it refuses the client certificate."""


def check_broker(settings: Settings) -> Iterator[CheckResult]:
    """Yield one result per stage and broker; a failure ends the checks of that broker.

    One of several brokers that does not work is a warning as long as another does.
    """
    if not settings.mqtt.enabled:
        yield ok("broker", "off: mqtt.enabled = false")
        return
    brokers = settings.mqtt.brokers
    if len(brokers) == 1:
        yield from _check_one(settings.model_copy(update={"mqtt": brokers[0]}))
        return
    found = {b.address: list(_check_one(settings.model_copy(update={"mqtt": b}))) for b in brokers}
    spared = any(worst(results) is not CheckStatus.FAIL for results in found.values())
    for address, results in found.items():
        for result in results:
            lenient = spared and result.status is CheckStatus.FAIL
            status = CheckStatus.WARN if lenient else result.status
            yield replace(result, name=f"{result.name} ({address})", status=status)


def _check_one(settings: Settings) -> Iterator[CheckResult]:
    mqtt = settings.mqtt
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
        return fail("broker connection", f"{where}: connection refused, nothing listens there", remedy)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return fail("broker connection", f"{where}: {reason}", f"ping -c 3 {mqtt.host}; look for a firewall between")
    return ok("broker connection", where)


def _encryption(mqtt: MqttSettings) -> CheckResult | None:
    if not mqtt.tls.enabled:
        if _is_local(mqtt.host):
            return None
        detail = "off: user names, passwords and summaries are sent unencrypted"
        return warn("broker encryption", detail, "set mqtt.tls.enabled = true and open port 8883 on the broker")
    try:
        context = tls_context(mqtt.tls)
        with (
            socket.create_connection((mqtt.host, mqtt.effective_port), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=mqtt.host) as tls,
        ):
            certificate = tls.getpeercert() or {}
            _await_alert(tls)
            return ok(
                "broker encryption", f"{tls.version()}, certificate valid until {certificate.get('notAfter', '?')}"
            )
    except ConfigError as error:
        return fail("broker encryption", str(error), "correct mqtt.tls")
    except OSError as error:
        return _tls_failure(error)


def _tls_failure(error: OSError) -> CheckResult:
    name = "broker encryption"
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "set mqtt.tls.ca_file to the broker's CA, mqtt.host to the name in its certificate; check the clock"
        return fail(name, f"the certificate is not accepted: {error.verify_message}", remedy)
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    told = tls_reason(reason)
    if told and "client certificate" in told:
        return fail(name, told, CLIENT_CERTIFICATE)
    remedy = "a broker without TLS on this port? set mqtt.tls.enabled = false or mqtt.port"
    return fail(name, f"the TLS handshake failed: {reason}", remedy)


def _await_alert(tls: ssl.SSLSocket) -> None:
    """Wait for a TLS alert: TLS 1.3 reports a missing or refused client certificate after the handshake.

    Raises:
        SSLError: the broker sent an alert.
    """
    tls.settimeout(ALERT_S)
    with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLEOFError):
        tls.recv(1)


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _session(settings: Settings) -> Iterator[CheckResult]:
    mqtt, device = settings.mqtt, settings.device.id
    reports: queue.Queue[Report] = queue.Queue()
    inbox: queue.Queue[InboundMessage] = queue.Queue()
    client_id = f"{mqtt.client_id or f'edge-agent-{device}'}-doctor"
    link = MqttLink(mqtt, client_id, None, reports.put, inbox.put)
    link.start()
    try:
        connected = next_report(reports, LOGIN_S, lambda report: isinstance(report, Connected | Disconnected))
        if not isinstance(connected, Connected):
            yield judge_login(connected.reason if isinstance(connected, Disconnected) else "no answer", mqtt)
            return
        yield ok("broker login", f"MQTT {connected.protocol} as {mqtt.username or 'anonymous'}")
        yield from check_rights(settings, link, connected, reports, inbox)
    finally:
        link.stop(2.0)


def judge_login(reason: str, mqtt: MqttSettings) -> CheckResult:
    """Judge a failed connection by the broker's reason, else by the protocol that the port speaks."""
    name = "broker login"
    said = reason.lower()
    if "client certificate" in said:
        return fail(name, reason, CLIENT_CERTIFICATE)
    if "identifier" in said:
        return fail(name, reason, "set mqtt.client_id to one that the broker accepts")
    if said.startswith("refused:"):
        remedy = "check mqtt.username and the password (password_file, or the credential mqtt-password)"
        return fail(name, reason, remedy)
    spoken = port_speaks(mqtt)
    if spoken is None:
        remedy = (
            f"is an MQTT broker on port {mqtt.effective_port}? set mqtt.port; the broker's log says why it hangs up"
        )
        return fail(name, reason, remedy)
    return fail(name, f"{reason}: {spoken[0]}", spoken[1])


def port_speaks(mqtt: MqttSettings) -> tuple[str, str] | None:
    """Detect a protocol on the broker's port other than the configured one, and the setting for it; None: unknown."""
    tls = mqtt.tls.enabled
    if mqtt.transport == "websockets" and _answer(mqtt, _MQTT_CONNECT, tls=tls).startswith(b"\x20"):
        return "this port speaks plain MQTT", 'set mqtt.transport = "tcp"'
    upgrade = f"GET {mqtt.websocket_path} HTTP/1.1\r\nHost: {mqtt.host}\r\n\r\n".encode()
    answer = _answer(mqtt, upgrade, tls=tls)
    if mqtt.transport == "tcp" and answer.startswith(b"HTTP/"):
        return "this port is for WebSockets or a web page", 'set mqtt.transport = "websockets", or mqtt.port'
    if mqtt.transport == "websockets" and answer.startswith(b"HTTP/"):
        said = answer.split(b"\r\n", 1)[0].decode("ascii", "replace")[:60]
        return f"a web server answers {said}", "set mqtt.websocket_path to the path of the broker's WebSocket"
    if not tls and _speaks_tls(mqtt):
        return "this port is for TLS", "set mqtt.tls.enabled = true"
    return None


_MQTT_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x05\x00\x00"
"""CONNECT of MQTT 3.1.1 with a clean session and no client id: every broker answers with a CONNACK."""


def _answer(mqtt: MqttSettings, question: bytes, *, tls: bool) -> bytes:
    """Send ``question`` and return the first bytes of the answer; empty when there is none."""
    try:
        with socket.create_connection((mqtt.host, mqtt.effective_port), PROBE_S) as plain:
            sock = tls_context(mqtt.tls).wrap_socket(plain, server_hostname=mqtt.host) if tls else plain
            with sock:
                sock.sendall(question)
                return sock.recv(256)
    except (OSError, ConfigError):
        return b""


def _speaks_tls(mqtt: MqttSettings) -> bool:
    """Whether the port answers a TLS handshake. Nothing is sent, so the certificate is not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((mqtt.host, mqtt.effective_port), PROBE_S) as plain, context.wrap_socket(plain):
            return True
    except OSError as error:
        return bool(tls_reason(getattr(error, "reason", None) or "")) and "WRONG_VERSION" not in str(error)
