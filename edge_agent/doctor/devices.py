"""Checks of camera and microphone, through the sources that the agent uses. Pictures and sound are not kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edge_agent.capture import Reopening, ReplayGroup, make_audio, make_video
from edge_agent.doctor.result import CheckResult, fail, ok, warn
from edge_agent.domain.clock import Clock, SystemClock
from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.media import AudioBlock, Frame, PixelFormat
from edge_agent.plugin.sound import dbfs
from edge_agent.plugin.spec import AudioSource, VideoSource
from edge_agent.runtime.machine import clock_is_synced
from edge_agent.settings import Settings

WATCH_S = 2.0
LISTEN_S = 1.5
"""Seconds to record: cameras need about one to adjust their exposure."""

DARK, FLAT = 12.0, 3.0
"""Mean brightness (of 255) and its standard deviation below which a picture shows nothing."""

QUIET_DB = -70.0
"""Level below the noise of a quiet room: the input is muted or turned down."""

CLIPPED = 0.01
OFFSET = 0.05
"""Largest normal offset of sound, as a share of full scale; smaller ones are removed."""

T = TypeVar("T")
VideoPlugins = Mapping[str, Callable[[Clock], VideoSource]]
AudioPlugins = Mapping[str, Callable[[Clock], AudioSource]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Readings of a camera: ``fps`` over ``count`` frames; mean and deviation of the last one's brightness (0-255)."""

    count: int
    width: int
    height: int
    fps: float
    brightness: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Sound:
    """Readings of a microphone.

    ``level``: RMS in dB of full scale, without the offset; ``clipped``: share of samples at full scale; ``gap``: lost
    seconds; ``offset``: mean of the samples, as a share of full scale.
    """

    seconds: float
    level: float
    clipped: float
    gap: float
    offset: float = 0.0


def check_camera(
    settings: Settings, plugins: VideoPlugins, on_frame: Callable[[Frame], None] = lambda _: None
) -> CheckResult:
    """Open the configured camera for :data:`WATCH_S` seconds and judge its pictures; ``on_frame`` gets each."""
    clock = SystemClock(clock_is_synced)
    remedy = "v4l2-ctl --list-devices; on a Raspberry Pi: rpicam-hello --list-cameras"
    try:
        source = make_video(settings.camera, clock, plugins, ReplayGroup(clock))
        if source is None:
            return ok("camera", "off: camera.source = none")
        frames = _take(source, WATCH_S, on_frame)
    except EdgeAgentError as error:
        return fail("camera", str(error), remedy)
    if not frames:
        return fail("camera", source.status.error or "gave no picture", remedy)
    return judge_camera(_pictures(frames), settings.camera.fps)


def judge_camera(seen: Pictures, wanted_fps: float) -> CheckResult:
    """Judge the pictures of a camera. ``wanted_fps``: the configured rate."""
    text = f"{seen.width}x{seen.height}, {seen.fps:.1f} fps, brightness {seen.brightness:.0f} of 255"
    if seen.brightness < DARK:
        return warn("camera", f"{text}: dark or covered", "uncover the lens, switch the light on")
    if seen.deviation < FLAT:
        return warn("camera", f"{text}: the picture is one flat colour", "check the lens cover and the cable")
    if seen.count > 1 and seen.fps < wanted_fps / 2:
        return warn(
            "camera", f"{text}: much slower than the {wanted_fps:g} fps asked for", "lower camera.width and height"
        )
    return ok("camera", text)


def check_microphone(
    settings: Settings, plugins: AudioPlugins, on_block: Callable[[AudioBlock], None] = lambda _: None
) -> CheckResult:
    """Open the configured microphone for :data:`LISTEN_S` seconds and judge its sound; ``on_block`` gets each block."""
    clock = SystemClock(clock_is_synced)
    remedy = "arecord -l; sudo apt install libportaudio2"
    try:
        source = make_audio(settings.microphone, clock, plugins, ReplayGroup(clock))
        if source is None:
            return ok("microphone", "off: microphone.source = none")
        blocks = _take(source, LISTEN_S, on_block)
    except EdgeAgentError as error:
        return fail("microphone", str(error), remedy)
    if not blocks:
        return fail("microphone", source.status.error or "gave no sound", remedy)
    return judge_microphone(_sound(blocks))


def judge_microphone(heard: Sound) -> CheckResult:
    """Judge the sound of a microphone, which may work and still be muted."""
    if heard.level == -math.inf:
        return warn(
            "microphone", "opens, but every sample is the same: muted", "alsamixer: unmute Capture (space bar, F4)"
        )
    text = f"level {heard.level:.0f} dBFS over {heard.seconds:.1f} s"
    if heard.level < QUIET_DB:
        return warn("microphone", f"{text}: turned down", "alsamixer: raise Capture (F4)")
    if abs(heard.offset) > OFFSET:
        return warn("microphone", f"{text}: {heard.offset:+.0%} off centre", "try another microphone or sound card")
    if heard.clipped > CLIPPED:
        return warn("microphone", f"{text}: {heard.clipped:.0%} of the samples are clipped", "alsamixer: lower Capture")
    if heard.gap > 0.1:
        return warn("microphone", f"{text}: {heard.gap:.1f} s were lost", "use another USB port or a lower load")
    return ok("microphone", text)


def _take(source: Reopening[T], seconds: float, on_item: Callable[[T], None]) -> list[T]:
    """Read from ``source`` for ``seconds``; end early, without waiting, when the device is lost."""
    source.on_wait = source.close
    items: list[T] = []
    try:
        source.open()
        if not source.status.available:
            return []
        end = time.monotonic() + seconds
        while time.monotonic() < end and (item := source.read()) is not None:
            items.append(item)
            on_item(item)
    finally:
        source.close()
    return items


def _pictures(frames: list[Frame]) -> Pictures:
    last = frames[-1]
    spent = last.time - frames[0].time
    luma = _luma(last)
    fps = (len(frames) - 1) / spent if spent > 0 else 0.0
    return Pictures(len(frames), last.width, last.height, fps, float(luma.mean()), float(luma.std()))


def _luma(frame: Frame) -> npt.NDArray[np.float64]:
    if frame.format is PixelFormat.BGR:
        return np.asarray(frame.data[::4, ::4].mean(axis=2, dtype=np.float64))
    return frame.data[: frame.height : 4, ::4].astype(np.float64)


def _sound(blocks: list[AudioBlock]) -> Sound:
    samples = np.concatenate([block.samples for block in blocks])
    return Sound(
        seconds=sum(block.seconds for block in blocks),
        level=dbfs(samples),
        clipped=float(np.mean(np.abs(samples) >= 0.999)) if len(samples) else 0.0,
        gap=sum(block.gap for block in blocks[1:]),
        offset=float(samples.mean(dtype=np.float64)) if len(samples) else 0.0,
    )
