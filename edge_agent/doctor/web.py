"""Checks of the web side: what it needs, its token, its address. Only for configurations that enable it."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, WebSettings
from edge_agent.settings.web import TOKEN_FILE

NEEDED = ("uvicorn", "starlette", "websockets", "prometheus_client", "python_multipart")


def check_web(settings: Settings, *, busy: bool) -> Iterator[CheckResult]:
    """What is wrong with it. ``busy``: the service runs, and so has the port."""
    if not settings.web.enabled:
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    yield judge_needs(missing)
    if not missing:
        yield _token(settings)
    yield judge_address(settings.web, "" if busy else _taken(settings.web))


def judge_needs(missing: Sequence[str]) -> CheckResult:
    """``missing``: packages of the extra that are not installed."""
    if missing:
        remedy = "pip install 'edge-emotion-agent[web]', or set web.enabled = false"
        return fail("web", f"the web side needs {', '.join(missing)}", remedy)
    return ok("web", "what the web side needs is installed")


def judge_address(web: WebSettings, taken: str) -> CheckResult:
    """``taken``: why it cannot listen there, or empty."""
    where = f"{web.host}:{web.port}"
    if taken:
        return fail(
            "web address", f"cannot listen on {where}: {taken}", f"ss -ltnp 'sport = :{web.port}'; set web.port"
        )
    if not web.loopback:
        return warn(
            "web address",
            f"{where} can be reached by others, and nothing is encrypted",
            'put a proxy with TLS in front and set web.host = "127.0.0.1"',
        )
    return ok("web address", f"{where}, for this machine only")


def _token(settings: Settings) -> CheckResult:
    from edge_agent.web.server import token_of

    made_up: Path = settings.device.state_dir / TOKEN_FILE
    if settings.web.token is None and settings.web.token_file is None and not made_up.exists():
        return ok("web token", f"will be made up and kept in {made_up}")
    try:
        token_of(settings)
    except ConfigError as error:
        return fail("web token", str(error), "openssl rand -hex 16, into that file")
    return ok("web token", "it can be read")


def _taken(web: WebSettings) -> str:
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        socket.create_server((web.host, web.port), family=family).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
