"""``edge-agent setup``: ask a few questions, try camera, microphone and broker, write the config, start the service.

What is asked can be given as options; with ``--yes`` nothing is asked. Pictures and sound of the tries are not kept.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from getpass import getpass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import SecretStr
from rich.live import Live
from rich.prompt import Confirm, Prompt
from rich.text import Text

from edge_agent.app.builder import PipelineBuilder
from edge_agent.app.offline import EVERY_FRAME, Run
from edge_agent.capture.cameras import list_cameras
from edge_agent.capture.microphone import list_microphones
from edge_agent.cli.common import pull_showing_progress, say
from edge_agent.cli.doctor import table_of
from edge_agent.cli.terminal import out, show
from edge_agent.doctor.broker import check_broker
from edge_agent.doctor.devices import check_camera, check_microphone
from edge_agent.doctor.result import CheckResult, CheckStatus
from edge_agent.domain.errors import ConfigError, EdgeAgentError
from edge_agent.domain.files import read_secret, replace_durably
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.plugin.sound import dbfs
from edge_agent.settings import ConfigText, Settings, parse
from edge_agent.settings.loader import SYSTEM_FILE
from edge_agent.settings.privacy import FORBIDDEN, LAW, Context
from edge_agent.settings.reference import sample

CONTEXTS = tuple(name for name in get_args(Context) if name not in FORBIDDEN)
NO_DEVICE = "none"
SERVICE = "edge-agent.service"
UNIT_FILES = {
    "edge-agent.service": "etc/systemd/system/edge-agent.service",
    "edge-agent.sysusers": "etc/sysusers.d/edge-agent.conf",
    "edge-agent.tmpfiles": "etc/tmpfiles.d/edge-agent.conf",
}
CREDENTIAL_FILE = "etc/credstore/edge-agent.mqtt-password"
_INSTALLED = "/opt/edge-agent/bin/edge-agent"
_BARS = 40


@dataclass(frozen=True, slots=True)
class Answers:
    """What the config is made of. ``broker`` None: nothing is published."""

    name: str
    camera: str
    microphone: str
    context: str
    broker: str | None
    port: int | None = None
    username: str = ""
    password: str = field(default="", repr=False)

    def tables(self, more: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the values of the config by table; ``more`` is added."""
        mqtt: dict[str, Any] = {"enabled": False} if self.broker is None else {"host": self.broker}
        if self.broker is not None:
            mqtt |= {"port": self.port} if self.port else {}
            mqtt |= {"username": self.username} if self.username else {}
        tables: dict[str, dict[str, Any]] = {
            "device": {"id": device_id(self.name), "name": self.name},
            "camera": {"source": self.camera},
            "microphone": {"source": self.microphone},
            "mqtt": mqtt,
            "privacy": {"context": self.context},
            "web": {"enabled": find_spec("uvicorn") is not None},  # the dashboard needs the extra [web]
        }
        for name, values in more.items():
            tables[name] = tables.get(name, {}) | dict(values)
        return tables


def device_id(name: str) -> str:
    """Make the id of a device from its name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64] or "edge-agent"


def setup(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="File to write. Default: /etc/edge-agent/config.toml for root, else edge-agent.toml here.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the options and the defaults.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a config with settings; it is kept as FILE.old.")
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the device. Default: the host name.")] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="As camera.source.")] = None,
    microphone: Annotated[str | None, typer.Option("--microphone", help="As microphone.source.")] = None,
    context: Annotated[str | None, typer.Option("--context", help=f"Where it stands: {', '.join(CONTEXTS)}.")] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", help="HOST or HOST:PORT of the MQTT broker, or none.")
    ] = None,
    username: Annotated[str, typer.Option("--username", help="User at the broker.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the broker's password in its first line.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Write below this folder and touch no service, to try it out.")
    ] = None,
) -> None:
    """Ask a few questions, try the devices and the broker, write the config, start the service if root."""
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("setup asks questions and needs a terminal; in a script give --yes and options (see --help)")
    system = root is not None or os.geteuid() == 0
    base = root or Path("/")
    target = config or (base / SYSTEM_FILE.relative_to("/") if system else Path("edge-agent.toml"))
    _may_replace(target, yes=yes, force=force)
    password = read_secret(password_file, "the password") if password_file else ""
    given = Answers(name or "", camera or "", microphone or "", context or "", broker, None, username, password)
    answers = _whole_paths(_defaults(given) if yes else _asked(given))
    _check_context(answers.context)
    if yes:
        show(table_of((*_camera_checks(answers), *_microphone_checks(answers), *_broker_checks(answers))))
    more, secret = _places(answers, target, base, system=system)
    text = _config_text(answers, more, target)
    if secret is not None:
        _write(secret, answers.password + "\n", 0o600)
    if target.exists():
        shutil.copy2(target, target.with_name(target.name + ".old"))
    _write(target, text, 0o640 if system else 0o644)
    say(f"wrote {target}")
    if system:
        _service(base, touch=root is None)
    else:
        say(f"start it with: edge-agent run --config {target}")


def _whole_paths(answers: Answers) -> Answers:
    """Return the answers with paths of files that the agent finds from wherever it runs."""

    def whole(source: str) -> str:
        return str(Path(source).resolve()) if Path(source).is_file() else source

    return replace(answers, camera=whole(answers.camera), microphone=whole(answers.microphone))


def _may_replace(target: Path, *, yes: bool, force: bool) -> None:
    """Refuse to replace a config that has settings, unless that is wanted. Raises ConfigError."""
    try:
        text = target.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{target}: cannot be read: {error}") from None
    if force or not any(line.strip() and not line.lstrip().startswith(("#", "[")) for line in text.splitlines()):
        return  # the sample that a package brings, with every option commented out
    if yes:
        raise ConfigError(f"{target} has settings; --force replaces it and keeps it as {target.name}.old")
    if not Confirm.ask(f"{target} has settings. Replace it (it is kept as {target.name}.old)?", default=False):
        raise ConfigError(f"{target} was left as it is")


def _check_context(context: str) -> None:
    if context in FORBIDDEN:
        raise ConfigError(f"context {context}: {LAW} prohibits inferring emotions there; see docs/privacy.md")
    if context not in CONTEXTS:
        raise ConfigError(f"context {context!r} is not known; choose one of {', '.join(CONTEXTS)}")


def _defaults(given: Answers) -> Answers:
    return _address(
        replace(
            given,
            name=given.name or socket.gethostname().split(".")[0],
            camera=given.camera or ("auto" if list_cameras() else NO_DEVICE),
            microphone=given.microphone or ("auto" if list_microphones() else NO_DEVICE),
            context=given.context or "undeclared",
            broker=given.broker or "localhost",
        )
    )


def _address(answers: Answers) -> Answers:
    """Split the port off the broker's address; ``none`` is no broker."""
    if answers.broker is None or answers.broker == NO_DEVICE:
        return replace(answers, broker=None)
    host, colon, port = answers.broker.rpartition(":")
    if colon and port.isdecimal() and "]" not in port and ":" not in host:
        return replace(answers, broker=host, port=int(port))
    return answers


# ---------------------------------------------------------------- questions


def _asked(given: Answers) -> Answers:
    say(("edge-agent setup", "bold"), ": Enter takes what stands in brackets, Ctrl-C changes nothing")
    answers = replace(
        given, name=given.name or Prompt.ask("Name of this device", default=socket.gethostname().split(".")[0])
    )
    answers = replace(answers, camera=given.camera or _camera(answers))
    answers = replace(answers, microphone=given.microphone or _microphone(answers))
    answers = replace(
        answers,
        context=given.context
        or Prompt.ask("Where does it stand?", choices=[*CONTEXTS, *FORBIDDEN], default="undeclared"),
    )
    _check_context(answers.context)
    return _broker(answers)


def _choose(title: str, devices: list[str]) -> str:
    """Let a device be chosen by number, or a source be typed."""
    choices = [*devices, NO_DEVICE]
    say((title, "bold"))
    for number, device in enumerate(choices, 1):
        say(f"  {number}  {device}")
    answer = Prompt.ask("Number, or a source such as rtsp://… or a file", default="1").strip()
    return choices[int(answer) - 1] if answer.isdecimal() and 0 < int(answer) <= len(choices) else answer


def _camera(answers: Answers) -> str:
    while True:
        source = _choose("Camera", list_cameras())
        results = _tried(_camera_checks(replace(answers, camera=source)))
        show(table_of(results))
        if _good(results) or Confirm.ask("Use it all the same?", default=False):
            return source


def _microphone(answers: Answers) -> str:
    while True:
        source = _choose("Microphone", list_microphones())
        say("say something …")
        results = _tried(_microphone_checks(replace(answers, microphone=source), live=True))
        show(table_of(results))
        if _good(results) or Confirm.ask("Use it all the same?", default=False):
            return source


def _broker(answers: Answers) -> Answers:
    while True:
        host = answers.broker or Prompt.ask("MQTT broker: host or host:port, or none", default="localhost")
        asked = _address(replace(answers, broker=host))
        if asked.broker is None:
            return asked
        username = answers.username or Prompt.ask("User at the broker (empty: none)", default="", show_default=False)
        password = answers.password or (getpass("Password: ") if username else "")
        asked = replace(asked, username=username, password=password)
        results = _tried(_broker_checks(asked))
        show(table_of(results))
        if _good(results) or Confirm.ask("Keep it all the same?", default=False):
            return asked
        answers = replace(answers, broker=None, username="", password="")


def _tried(checks: Iterator[CheckResult]) -> tuple[CheckResult, ...]:
    """Return the results; what cannot be a setting at all is a failure, too."""
    try:
        return tuple(checks)
    except ConfigError as error:
        return (CheckResult("setting", CheckStatus.FAIL, str(error)),)


def _good(results: tuple[CheckResult, ...]) -> bool:
    return all(result.status is not CheckStatus.FAIL for result in results)


# ---------------------------------------------------------------- tries


def _camera_checks(answers: Answers) -> Iterator[CheckResult]:
    frames: list[Frame] = []
    settings = _trial(answers, "camera")
    builder = PipelineBuilder(ConfigText("setup", ""), settings)
    result = check_camera(settings, builder.video_plugins(), frames.append)
    yield result
    if frames and result.status is not CheckStatus.FAIL:
        yield _faces(settings, frames[-1])


def _faces(settings: Settings, frame: Frame) -> CheckResult:
    """Say how many faces the detector finds in a picture."""
    try:
        builder = PipelineBuilder(ConfigText("setup", ""), settings, recorded=True)
        builder.pull_missing(pull_showing_progress)
        builder.activate()
        try:
            report = Run(builder, EVERY_FRAME, stills=True).frame(frame)
        finally:
            builder.close()
    except EdgeAgentError as error:
        return CheckResult("faces", CheckStatus.WARN, str(error), "edge-agent models pull")
    count = len(report.faces) if report is not None else 0
    told = f"{count} in the picture" if count else "none in the picture; look into the camera and try again to be sure"
    return CheckResult("faces", CheckStatus.OK, told)


def _microphone_checks(answers: Answers, *, live: bool = False) -> Iterator[CheckResult]:
    settings = _trial(answers, "microphone")
    plugins = PipelineBuilder(ConfigText("setup", ""), settings).audio_plugins()
    if not live:
        yield check_microphone(settings, plugins)
        return
    with Live(Text(""), console=out(), transient=True) as bar:

        def level(block: AudioBlock) -> None:
            filled = round(_BARS * min(1.0, max(0.0, 1 + dbfs(block.samples) / 70)))
            bar.update(Text("level " + "█" * filled + "·" * (_BARS - filled)))

        yield check_microphone(settings, plugins, level)


def _broker_checks(answers: Answers) -> Iterator[CheckResult]:
    settings = _trial(answers, "mqtt")
    if answers.password:
        mqtt = settings.mqtt.model_copy(update={"password": SecretStr(answers.password)})
        settings = settings.model_copy(update={"mqtt": mqtt})
    yield from check_broker(settings)


def _trial(answers: Answers, table: str) -> Settings:
    """Return settings of which only ``table`` follows the answers, to try it alone. Raises ConfigError."""
    values = answers.tables({})
    return parse(_sample({table: values[table]}), "setup")


# ---------------------------------------------------------------- files and service


def _sample(values: Mapping[str, Mapping[str, Any]]) -> str:
    defaults = ConfigText("defaults", "")
    builder = PipelineBuilder(defaults, defaults.settings())
    analyzers = {name: type(model) for name, model in builder.plugins.analyzer_settings().items()}
    return sample(Settings, analyzers, builder.device_tables(), values)


def _places(
    answers: Answers, target: Path, base: Path, *, system: bool
) -> tuple[dict[str, dict[str, Any]], Path | None]:
    """Return further values of the config, and where the password goes: into systemd's credentials, or beside it."""
    more: dict[str, dict[str, Any]] = {} if system else {"device": {"state_dir": "~/.local/state/edge-agent"}}
    if not answers.password:
        return more, None
    if system:
        return more, base / CREDENTIAL_FILE
    secret = target.absolute().with_name("mqtt-password")
    return more | {"mqtt": {"password_file": str(secret)}}, secret


def _config_text(answers: Answers, more: Mapping[str, Mapping[str, Any]], target: Path) -> str:
    """Return the config file, checked. Raises ConfigError."""
    text = _sample(answers.tables(more))
    config = ConfigText(str(target), text)
    PipelineBuilder(config, config.settings()).check()
    return text


def _write(path: Path, text: str, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, text.encode(), mode)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _service(base: Path, *, touch: bool) -> None:
    """Install the unit where none is, and start it; ``touch`` False: files only."""
    running = touch and Path("/run/systemd/system").is_dir()
    if touch and not running:
        say("systemd does not run here; start the agent with: edge-agent run")
        return
    if not touch or subprocess.run(["systemctl", "cat", SERVICE], capture_output=True, check=False).returncode:
        _install_unit(base)
    if not touch:
        return
    for command in (
        ["systemd-sysusers"], ["systemd-tmpfiles", "--create"], ["systemctl", "daemon-reload"],
        ["systemctl", "enable", SERVICE], ["systemctl", "restart", SERVICE],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and command[0] == "systemctl":
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ConfigError(f"{' '.join(command)}: {why}")
    say(f"{SERVICE} is enabled and started; look at it with: systemctl status edge-agent")


def _install_unit(base: Path) -> None:
    program = Path(shutil.which("edge-agent") or sys.argv[0]).resolve()
    if str(program).startswith(("/home/", "/root/")):
        raise ConfigError(
            f"{program}: a service cannot run from a home folder; use the Debian package or scripts/install.sh"
        )
    for source, place in UNIT_FILES.items():
        _write(base / place, _unit_text(source).replace(_INSTALLED, str(program)), 0o644)
        say(f"wrote {base / place}")


def _unit_text(name: str) -> str:
    """Read a file of ``systemd/``: from the package, or from the checkout that this runs in."""
    packaged = resources.files(__package__) / "systemd" / name
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).resolve().parents[2] / "systemd" / name).read_text(encoding="utf-8")
