"""Dashboard: one page with its modules, served from this package, and the login form for the token.

Colours come from :mod:`edge_agent.domain.palette`. The token is kept in a cookie that scripts cannot read (HttpOnly)
and other sites cannot use (SameSite). No request goes to another host. ``/connect`` shows how each kind of client is
connected, with this device's own addresses.
"""

from __future__ import annotations

import hmac
from html import escape
from importlib import resources

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from edge_agent import __version__
from edge_agent.domain.palette import css
from edge_agent.settings import Settings
from edge_agent.settings.web import TOKEN_FILE
from edge_agent.web.body import ProblemError
from edge_agent.web.guard import COOKIE, fields

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
KEPT_S = 30 * 86_400

_FORM = {"referrer-policy": "same-origin"}
"""For the page with the form: under ``no-referrer`` browsers send it with ``Origin: null``, which the guard refuses."""


CLIENTS = {
    "curl": """\
TOKEN=…
curl -H "Authorization: Bearer $TOKEN" {http}/api/v1/summary
curl -H "Authorization: Bearer $TOKEN" -F file=@film.mp4 {http}/video-stream/emotion
curl -N -H "Authorization: Bearer $TOKEN" {http}/stream-emotion-feed""",
    "Python (requests)": """\
import requests

headers = {{"Authorization": "Bearer TOKEN"}}
print(requests.get("{http}/api/v1/summary", headers=headers, timeout=10).json())
with open("film.mp4", "rb") as film:
    print(requests.post("{http}/process-frame", data=film, headers=headers, timeout=120).json())""",
    "JavaScript (WebSocket)": """\
const socket = new WebSocket("{ws}/api/v1/live?token=TOKEN");
socket.onmessage = (event) => {{
  const {{ type, data }} = JSON.parse(event.data);
  if (type === "summary") console.log(data.faces, data.emotion);
}};""",
    "Hume SDK (Python)": """\
from hume import AsyncHumeClient
from hume.environment import HumeClientEnvironment
from hume.expression_measurement.stream import Config, StreamFace

here = HumeClientEnvironment(base="{http}", evi="", tts="", stream="{ws}/v0/stream")
client = AsyncHumeClient(api_key="TOKEN", environment=here)  # up to 0.12.1: base_url="{http}"
async with client.expression_measurement.stream.connect() as socket:
    print(await socket.send_file("face.jpg", config=Config(face=StreamFace())))""",
    "Echo and Flask clients": """\
curl -H "Authorization: Bearer $TOKEN" "{http}/camera/start"
curl -H "Authorization: Bearer $TOKEN" --data-binary @film.mp4 {http}/flask/process-frame
const socket = new WebSocket("{ws}/ws/face?token=TOKEN");  // send {{"image": "<base64>"}}""",
    "MQTT (mosquitto_sub)": """\
mosquitto_sub -h {broker} -p {broker_port}{secure} -t '{topics}/#' -v""",
    "Home Assistant": """\
# With the MQTT integration on {broker}:{broker_port} the device appears by itself ({discovery}). Without MQTT:
rest:
  - resource: {http}/api/v1/summary
    headers: {{Authorization: "Bearer TOKEN"}}
    scan_interval: 10
    sensor:
      - name: People
        value_template: "{{{{ value_json.faces.max }}}}"
      - name: Expression
        value_template: "{{{{ (value_json.emotion or {{}}).dominant }}}}\"""",
}
"""Examples by kind of client; in braces what is this device's own."""

URLS = """\
{http}/                        dashboard
{http}/docs                    the API, to try out
{http}/api/v1/summary          latest window
{ws}/api/v1/live                 everything as it happens
{ws}/v0/stream/models            Hume's stream
{http}/process-frame           a film or picture
{http}/analytics               the last hour
{http}/metrics                 Prometheus"""


def connect_page(settings: Settings, host: str) -> str:
    """Return the page for a browser that reached this device as ``host`` (name and port). The token is not in it."""
    web, mqtt = settings.web, settings.mqtt.brokers[0]
    broker = mqtt.host if mqtt.host not in ("localhost", "127.0.0.1", "::1") else host.rpartition(":")[0] or host
    facts = {
        "http": f"http://{host}",
        "ws": f"ws://{host}",
        "broker": broker,
        "broker_port": mqtt.effective_port,
        "secure": (" --tls-use-os-certs" if mqtt.tls.enabled else "")
        + (" -u USER -P PASSWORD" if mqtt.username else ""),
        "topics": f"{mqtt.prefix}/{settings.device.id}",
        "discovery": "home_assistant.enabled is true"
        if settings.home_assistant.enabled
        else "set home_assistant.enabled = true",
    }
    path = web.token_file or settings.device.state_dir / TOKEN_FILE
    parts = {
        "token": "It is set in the config (web.token)." if web.token else f"It is the first line of {path}.",
        "read": "edge-agent config show" if web.token else f"TOKEN=$(sudo head -n 1 {path})",
        "reach": "Only this machine can connect: web.host is a loopback address."
        if web.loopback
        else "Other machines can connect. Put a proxy with TLS in front: the token travels in every request.",
        "urls": URLS.format(**facts),
    }
    page = _read("connect.html")
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", escape(text))
    examples = (
        (name, text.format(**facts)) for name, text in CLIENTS.items() if mqtt.enabled or "mosquitto" not in text
    )
    cards = (
        f'<section class="card"><h2>{escape(name)}</h2><pre tabindex="0">{escape(text)}</pre></section>'
        for name, text in examples
    )
    return page.replace("{{clients}}", "\n  ".join(cards))


def routes(token: str, settings: Settings) -> list[BaseRoute]:
    """Return the routes of the page at ``/`` (a short text unless HTML is accepted), ``/connect``, files and form."""

    async def page(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"status": "ok", "version": __version__})
        if "token" in request.query_params:  # it was right, or nobody had come this far: keep it out of the history
            return _welcome(token)
        return HTMLResponse(_read("index.html"))

    async def connect(request: Request) -> Response:
        return HTMLResponse(connect_page(settings, request.headers["host"]))

    async def login(request: Request) -> Response:
        if request.method == "GET":
            return _form("")
        given = fields((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        if hmac.compare_digest(given.strip().encode(), token.encode()):
            return _welcome(token)
        return _form("That is not the token of this device.", 401)

    return [
        Route("/", page),
        Route("/connect", connect),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/static/{name}", _static),
    ]


def _form(wrong: str, status: int = 200) -> Response:
    return HTMLResponse(_read("login.html").replace("{{wrong}}", wrong), status, _FORM)


def _welcome(token: str) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, token, max_age=KEPT_S, httponly=True, samesite="strict")
    return answer


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    kind = TYPES.get(name.rpartition(".")[2])
    if name in _SWAGGER:
        return FileResponse(str(resources.files("fastapi_offline").joinpath("static", name)), media_type=kind)
    if name == "palette.css":
        return Response(css(chosen=True), media_type=kind)
    if kind is None or name not in _FILES:
        raise ProblemError(404, "there is no such file")
    return Response(_read(name), media_type=kind)


_SWAGGER = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})
"""Files of the interactive documentation, which the package fastapi-offline ships."""


_SCRIPTS = """
chart connect control docs exporting format main page panels past period persons plots preview theme tiles timeline
"""

_FILES = frozenset({*(f"{name}.js" for name in _SCRIPTS.split()), "style.css", "icon.svg"})


def _read(name: str) -> str:
    return resources.files("edge_agent.web").joinpath("static", name).read_text(encoding="utf-8")
