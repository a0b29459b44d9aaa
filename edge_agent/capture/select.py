"""Build the camera and the microphone that the settings choose, not opened yet.

Every source is a :class:`~edge_agent.capture.reopening.Reopening`, which has a status and waits for an absent device;
device and network sources run :class:`~edge_agent.capture.reopening.Watched` inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from edge_agent.capture.microphone import DeviceMemory, Microphone
from edge_agent.capture.picamera import PiCamera
from edge_agent.capture.reopening import BlockSeam, FrameSeam, Reopening, Source, Watched, WatchLimits
from edge_agent.capture.replay import AudioReplay, DemoCamera, DemoMicrophone, ReplayGroup, VideoReplay
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import ConfigError, DeviceUnavailableError, MediaError
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.text import did_you_mean
from edge_agent.plugin.spec import AudioSource, VideoSource
from edge_agent.settings.schema import CameraSettings, MicrophoneSettings
from edge_agent.settings.source import Choice, SourceKind, parse_camera, parse_microphone

T = TypeVar("T")

Wanted = Callable[[float], bool]
"""Tells whether a picture captured at a monotonic time is of use."""


def make_video(
    settings: CameraSettings,
    clock: Clock,
    plugins: Mapping[str, Callable[[Clock], VideoSource]],
    replays: ReplayGroup,
    wanted: Wanted = lambda _: True,
) -> Reopening[Frame] | None:
    """Build the camera that ``settings.source`` names, not opened; None for ``none``.

    ``wanted`` is asked on the camera's thread whether a picture captured at a time is of use; one that is not is
    counted in :attr:`Frame.skipped` and neither decoded nor handed on. Cameras of plugins hand on every picture.

    Raises:
        ConfigError: the source is invalid, or there is no such plugin.
    """
    choice = parse_camera(settings.source)
    if choice.kind is SourceKind.NONE:
        return None
    video = _video(choice, settings, clock, plugins, replays, wanted)
    return Reopening(video, FrameSeam(), clock, f"camera {choice.shown}")


def make_audio(
    settings: MicrophoneSettings,
    clock: Clock,
    plugins: Mapping[str, Callable[[Clock], AudioSource]],
    replays: ReplayGroup,
) -> Reopening[AudioBlock] | None:
    """Build the microphone that ``settings.source`` names, not opened; None for ``none``; raises as make_video."""
    choice = parse_microphone(settings.source)
    if choice.kind is SourceKind.NONE:
        return None
    return Reopening(
        _audio(choice, settings, clock, plugins, replays), BlockSeam(), clock, f"microphone {choice.shown}"
    )


def _video(
    choice: Choice,
    settings: CameraSettings,
    clock: Clock,
    plugins: Mapping[str, Callable[[Clock], VideoSource]],
    replays: ReplayGroup,
    wanted: Wanted,
) -> Source[Frame]:
    size_and_rate = (settings.width, settings.height, settings.fps)
    if choice.kind is SourceKind.DEMO:
        return DemoCamera(clock, *size_and_rate)
    if choice.kind is SourceKind.FILE:
        path = Path(choice.value)
        timeline = replays.timeline(path)
        return VideoReplay(path, clock, timeline, loop=settings.loop, still_fps=settings.fps, wanted=wanted)
    device, timeout = choice.value, settings.timeout_s
    make: Callable[[], Source[Frame]]
    match choice.kind:
        case SourceKind.PLUGIN:
            make = partial(_plugin(plugins, device, "camera"), clock)
        case SourceKind.STREAM:
            make = partial(_stream_camera, device, clock, settings.fps, timeout, wanted)
        case SourceKind.DEVICE:
            make = partial(_device_camera, device, settings, clock, wanted)
        case SourceKind.PICAMERA:
            make = partial(_pi_camera, settings, clock, wanted)
        case _:
            make = partial(_any_camera, settings, clock, wanted)
    return Watched(make, "camera", WatchLimits(open_s=timeout + 5.0, read_s=timeout), latest=True)


def _stream_camera(url: str, clock: Clock, fps: float, timeout: float, wanted: Wanted) -> Source[Frame]:
    from edge_agent.capture.cameras import StreamCamera

    return StreamCamera(url, clock, fps, timeout, timeout, wanted)


def _device_camera(device: str, settings: CameraSettings, clock: Clock, wanted: Wanted) -> Source[Frame]:
    from edge_agent.capture.cameras import V4l2Camera

    return V4l2Camera(device, clock, settings.width, settings.height, settings.fps, wanted)


def _pi_camera(settings: CameraSettings, clock: Clock, wanted: Wanted) -> Source[Frame]:
    # Below the watchdog's limit: a camera that times out here is closed properly and can be opened again.
    return PiCamera(clock, settings.width, settings.height, settings.fps, settings.timeout_s * 0.8, wanted)


def _any_camera(settings: CameraSettings, clock: Clock, wanted: Wanted) -> Source[Frame]:
    return FirstThatOpens(_candidates(settings, clock, wanted))


def _candidates(settings: CameraSettings, clock: Clock, wanted: Wanted) -> Iterator[Source[Frame]]:
    """Yield every possible camera, best first; enumerated at each opening."""
    from edge_agent.capture.cameras import list_cameras

    yield _pi_camera(settings, clock, wanted)
    for device in list_cameras():
        yield _device_camera(device, settings, clock, wanted)


def _audio(
    choice: Choice,
    settings: MicrophoneSettings,
    clock: Clock,
    plugins: Mapping[str, Callable[[Clock], AudioSource]],
    replays: ReplayGroup,
) -> Source[AudioBlock]:
    if choice.kind is SourceKind.DEMO:
        return DemoMicrophone(clock)
    if choice.kind is SourceKind.FILE:
        path = Path(choice.value)
        return AudioReplay(path, clock, replays.timeline(path), loop=settings.loop, channel=settings.channel)
    make: Callable[[], Source[AudioBlock]]
    if choice.kind is SourceKind.PLUGIN:
        make = partial(_plugin(plugins, choice.value, "microphone"), clock)
    else:
        make = partial(Microphone, clock, DeviceMemory(), choice.value or "auto", settings.channel, settings.timeout_s)
    # Longer than the microphone's own limit, which applies unless the driver hangs.
    limits = WatchLimits(open_s=settings.timeout_s + 10.0, read_s=settings.timeout_s + 5.0)
    return Watched(make, "microphone", limits, latest=False)


def _plugin(plugins: Mapping[str, T], name: str, what: str) -> T:
    if name in plugins:
        return plugins[name]
    known = did_you_mean(name, plugins, "known: {}") or "; known: none"
    raise ConfigError(f"{what}.source: no plugin offers a {what} called {name!r}{known}")


class FirstThatOpens:
    """Camera that opens the first working one of several candidates."""

    def __init__(self, candidates: Iterable[Source[Frame]]) -> None:
        self._candidates = candidates
        self._chosen: Source[Frame] | None = None

    def open(self) -> None:
        """Try the candidates in order. Raises DeviceUnavailableError when none opens, also for missing software."""
        problems = []
        for source in self._candidates:
            try:
                source.open()
            except MediaError as error:
                problems.append(str(error))
                continue
            self._chosen = source
            return
        raise DeviceUnavailableError(f"no camera works; plug one in, or set camera.source [{'; '.join(problems)}]")

    def read(self) -> Frame | None:
        """Read from the chosen camera."""
        return self._chosen.read() if self._chosen else None

    def close(self) -> None:
        """Release the chosen camera."""
        if self._chosen is not None:
            self._chosen.close()
            self._chosen = None
