"""``edge-agent people``: enroll people who agreed to be recognised, list, export and forget them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_agent.app.builder import PipelineBuilder
from edge_agent.capture import ReplayGroup, iter_media, make_video, read_media
from edge_agent.cli.common import ConfigOption, JsonOption, configuration, pull_showing_progress, say, tell
from edge_agent.cli.streams import print_json
from edge_agent.cli.terminal import show
from edge_agent.domain.clock import SystemClock
from edge_agent.domain.errors import ConfigError, MediaError, PluginError
from edge_agent.domain.face import Face
from edge_agent.domain.media import Frame
from edge_agent.people import Custody, PeopleError, custody_of
from edge_agent.people.enrolment import Detect, Photo, embed_all, embed_from_camera, make_person
from edge_agent.plugin.spec import FaceRecognizer, Kind
from edge_agent.runtime.machine import clock_is_synced
from edge_agent.settings.privacy import recognition_refused

app = typer.Typer(
    help="Enroll people who agreed to be recognised, and forget them. Nobody else gets a name.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

LOOK_EVERY_S = 0.4
"""Seconds between two pictures from the camera, so that they differ."""

CAMERA_S = 30.0
"""Seconds after which enrolment from the camera is given up."""


@app.command()
def enroll(
    name: Name,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO", help="Pictures of this person alone.", show_default=False)
    ] = None,
    camera: Annotated[bool, typer.Option("--camera", help="Take pictures with the configured camera.")] = False,
    agreed: Annotated[
        str | None,
        typer.Option(help="How the person agreed, in words, for your records; asked for on a terminal otherwise."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Enroll a person from pictures; replaces an earlier enrolment. Only the template is kept, never a picture."""
    if camera == bool(photos):
        raise ConfigError("give pictures of the person, or --camera")
    text, settings = configuration(config)
    if (refused := recognition_refused(settings)) is not None:
        raise ConfigError(refused)
    agreed = agreed or _ask(name)
    plain = PipelineBuilder(text, settings)
    only: dict[str, dict[str, Any]] = {analyzer: {} for analyzer in (*_detectors(plain), *_recognizers(plain))}
    builder = PipelineBuilder(text, settings, recorded=not camera, only=only)
    builder.pull_missing(pull_showing_progress)
    custody = custody_of(settings)
    with _eyes(builder) as (detect, recognizer):
        if camera:
            with _camera_frames(builder) as frames:
                found = embed_from_camera(frames, detect, recognizer, tell)
        else:
            found = embed_all(map(_picture, photos or ()), detect, recognizer)
        person = make_person(name, found, custody.people(), recognizer.alike, time.time(), agreed)
    custody.enroll(person)
    say(f"{person.name} is enrolled from {person.pictures} picture{'s' if person.pictures > 1 else ''}")
    if person.pictures < 3:
        tell("three to eight pictures in different light are recognised more surely")


@app.command("list")
def list_people(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List who is enrolled."""
    people = _custody(config).people()
    if json:
        print_json([{k: v for k, v in p.exported().items() if k != "template"} for p in people])
        return
    table = Table("name", "enrolled", "pictures", "network", "agreed", box=None, pad_edge=False)
    for person in people:
        when = datetime.fromtimestamp(person.enrolled, UTC).strftime("%Y-%m-%d")
        table.add_row(person.name, when, str(person.pictures), person.network, person.agreed)
    show(table)


@app.command()
def export(name: Name, config: ConfigOption = None) -> None:
    """Print everything that is held of a person, as JSON."""
    print_json(_custody(config).find(name).exported())


@app.command()
def forget(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", show_default=False, help="Those to forget.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Forget everybody.")] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Delete and overwrite what is held of people. A running agent forgets them within a second or two."""
    if everybody == bool(names):
        raise ConfigError("give the names of those to forget, or --all")
    custody = _custody(config)
    if not yes:
        typer.confirm(f"Forget {'everybody' if everybody else ', '.join(names or ())}?", abort=True, err=True)
    if everybody:
        custody.forget_all()
        say("everybody is forgotten")
    else:
        say(f"{custody.forget(names or ())} forgotten")


def _custody(config: Path | None) -> Custody:
    return custody_of(configuration(config)[1])


def _ask(name: str) -> str:
    if not typer.get_text_stream("stdin").isatty():
        raise ConfigError('say with --agreed "…" how the person agreed to be recognised')
    agreed = str(typer.prompt(f"How has {name} agreed to be recognised (e.g. signed form of today)?", err=True)).strip()
    if not agreed:
        raise ConfigError("nobody is enrolled without having agreed")
    return agreed


def _detectors(builder: PipelineBuilder) -> list[str]:
    return [report.name for report in builder.plugins.reports() if report.kind == Kind.DETECTOR.value][:1]


def _recognizers(builder: PipelineBuilder) -> list[str]:
    """The name of the analyzer that recognises people, whether or not it is enabled."""
    found = builder.plugins.recognizers(enabled=False)
    if not found:
        raise PluginError('no plugin in plugins.allow recognises people: add "identity" to it')
    return found[:1]


@contextmanager
def _eyes(builder: PipelineBuilder) -> Iterator[tuple[Detect, FaceRecognizer]]:
    active = builder.activate()
    try:
        builder.require(Kind.DETECTOR)
        builder.require(Kind.FACE)
        detector = next(a for a in active if a.spec.kind is Kind.DETECTOR)
        recognizer = next(a for a in active if a.spec.identifies).borrow()

        def detect(frame: Frame) -> list[Face]:
            return [face for face in detector.call(lambda a: a.detect(frame), ()) if face.score >= 0.6]

        yield detect, recognizer
    finally:
        builder.close()


@contextmanager
def _camera_frames(builder: PipelineBuilder) -> Iterator[Iterator[Frame]]:
    """A few pictures a second of the configured camera, for :data:`CAMERA_S` seconds."""
    clock = SystemClock(clock_is_synced)
    source = make_video(builder.settings.camera, clock, builder.video_plugins(), ReplayGroup(clock))
    if source is None:
        raise ConfigError('camera.source = "none": enroll from pictures')
    end = clock.monotonic() + CAMERA_S
    # A camera that does not answer must not hang the command: closing the source ends the reading.
    timer = threading.Timer(CAMERA_S, source.close)

    def frames() -> Iterator[Frame]:
        last = float("-inf")
        while clock.monotonic() < end and (frame := source.read()) is not None:
            if frame.time - last >= LOOK_EVERY_S:
                last = frame.time
                yield frame

    timer.start()
    try:
        source.open()
        yield frames()
    except PeopleError:
        if source.status.available or not source.status.error:
            raise
        raise MediaError(f"{source.status.error}; a running agent holds the camera, so stop it meanwhile") from None
    finally:
        timer.cancel()
        source.close()


def _picture(path: Path) -> Photo:
    info = read_media(path, whole=True)
    if not info.still:
        raise PeopleError(f"{path.name} is no picture: give photographs, or use --camera")
    frame = next((item for item in iter_media(info.path) if isinstance(item, Frame)), None)
    if frame is None:
        raise PeopleError(f"{path.name} holds no picture")
    return Photo(path.name, frame)
