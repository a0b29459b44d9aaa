"""Fetch a job's addresses and send its callbacks without being led into the networks behind this device (SSRF).

An address is resolved once; every answer must be public or in a network that the config lists, and the connection goes
to the address that was checked, so that a second answer of the DNS changes nothing. Each redirect is checked likewise.
Only http and https, no credentials, bounded in size, time and number of redirects; no proxy of the
environment is asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

from edge_agent import __version__
from edge_agent.batch.jobs import BatchError
from edge_agent.settings.batch import BatchSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

REDIRECTS = 3
TOTAL_S = 300.0
"""Seconds for one address, redirects included."""
STEP_S = 15.0
"""Seconds without a byte after which a server is given up."""
_CHUNK = 1 << 16
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MOVED = (301, 302, 303, 307, 308)


def resolve(host: str, port: int) -> Sequence[str]:
    """Addresses of ``host`` by the system's resolver. Raises BatchError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BatchError(f"{host}: this name cannot be resolved: {getattr(error, 'strerror', None) or error}") from None
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def permitted(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address may be connected to: it is public, or in one of ``networks``. Addresses that carry another one
    (mapped, translated, tunnelled) are judged by that as well."""
    if any(address.version == network.version and address in network for network in networks):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return permitted(inner, networks)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


@dataclass(frozen=True, slots=True)
class _Target:
    """An address that was checked, and where the connection goes."""

    parts: SplitResult
    host: str
    port: int
    pinned: str


class Fetcher:
    """Fetches and sends within the ``limits`` of the config. ``lookup`` is :func:`resolve` but in tests."""

    def __init__(
        self, limits: BatchSettings, lookup: Resolve = resolve, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = round(limits.max_file_mb * 1e6)
        self._networks = tuple(ipaddress.ip_network(text) for text in limits.private_networks)
        self._lookup = lookup
        self._now = monotonic

    def fetch(self, url: str, into: BinaryIO, progress: Callable[[], None] = lambda: None) -> str:
        """Write what is at ``url`` into a file and return its content type; ``progress`` is called with every piece.

        Raises:
            BatchError: it may not be fetched, or cannot be.
        """
        deadline = self._now() + TOTAL_S
        for _ in range(REDIRECTS + 1):
            with self._exchange(self._target(url), "GET", None, {}, deadline) as answer:
                if answer.status in _MOVED and (where := answer.getheader("location")):
                    url = urljoin(url, where)
                    continue
                if answer.status != 200:
                    raise BatchError(f"the server answered {answer.status}")
                self._receive(answer, into, deadline, progress)
                return answer.getheader("content-type") or ""
        raise BatchError(f"more than {REDIRECTS} redirects")

    def send(self, url: str, document: Mapping[str, Any]) -> None:
        """POST a document as JSON; a redirect is not followed. Raises BatchError."""
        body = json.dumps(document).encode()
        headers = {"content-type": "application/json"}
        with self._exchange(self._target(url), "POST", body, headers, self._now() + TOTAL_S) as answer:
            if not 200 <= answer.status < 300:
                raise BatchError(f"the server answered {answer.status}")

    def check(self, url: str) -> None:
        """Refuse an address that is wrong by itself, without asking the network. Raises BatchError."""
        parts = _parsed(url)
        try:
            address = ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            return
        if not permitted(address, self._networks):
            raise BatchError(f"{parts.hostname} is no public address (see batch.private_networks)")

    def _target(self, url: str) -> _Target:
        parts = _parsed(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = self._lookup(host, port)
        if not addresses:
            raise BatchError(f"{host}: this name has no address")
        for text in addresses:  # one that is not public may be the one that is used next time
            if not permitted(ipaddress.ip_address(text), self._networks):
                raise BatchError(f"{host} is no public address (see batch.private_networks)")
        return _Target(parts, host, port, addresses[0])

    @contextmanager
    def _exchange(
        self, target: _Target, method: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Pinned(target, min(STEP_S, max(0.1, deadline - self._now())))
        path = target.parts.path or "/"
        if target.parts.query:
            path = f"{path}?{target.parts.query}"
        told = {"user-agent": f"edge-agent/{__version__}", "accept": "*/*", "accept-encoding": "identity", **headers}
        try:
            connection.request(method, path, body, told)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BatchError(f"{target.host}: {getattr(error, 'strerror', None) or error or 'no answer'}") from None
        finally:
            connection.close()

    def _receive(
        self, answer: http.client.HTTPResponse, into: BinaryIO, deadline: float, progress: Callable[[], None]
    ) -> None:
        size = 0
        told = answer.getheader("content-length") or ""
        if told.isdecimal() and int(told[:20]) > self._most:
            raise BatchError(f"it has more than {self._most / 1e6:g} MB (batch.max_file_mb)")
        while chunk := answer.read1(_CHUNK):
            size += len(chunk)
            if size > self._most:
                raise BatchError(f"it has more than {self._most / 1e6:g} MB (batch.max_file_mb)")
            if self._now() > deadline:
                raise BatchError(f"it took longer than {TOTAL_S:.0f} s")
            into.write(chunk)
            progress()


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was checked; TLS still asks for the certificate of the name."""

    def __init__(self, target: _Target, timeout: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._pinned = target.pinned
        self._tls = ssl.create_default_context() if target.parts.scheme == "https" else None
        if self._tls is not None:
            self.default_port = 443  # so that the Host header names no port where none is needed

    def connect(self) -> None:
        """Connect to the pinned address."""
        self.sock = socket.create_connection((self._pinned, self.port), self.timeout)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BatchError("this is no address: http://HOST/PATH or https://HOST/PATH is needed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BatchError("this is no address: http://HOST/PATH or https://HOST/PATH is needed")
    if parts.username is not None or parts.password is not None:
        raise BatchError("an address must not hold a user name or password")
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise BatchError("spaces and control characters in an address must be percent-encoded")
    return parts
