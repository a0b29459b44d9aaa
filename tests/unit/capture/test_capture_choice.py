"""What the source strings of the configuration mean."""

from __future__ import annotations

import pytest

from edge_agent.capture.choice import Choice, Kind, parse_camera, parse_microphone, redact
from edge_agent.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", Choice(Kind.AUTO)),
        (" Demo ", Choice(Kind.DEMO)),
        ("none", Choice(Kind.NONE)),
        ("picamera", Choice(Kind.PICAMERA)),
        ("0", Choice(Kind.DEVICE, "/dev/video0")),
        ("02", Choice(Kind.DEVICE, "/dev/video2")),
        ("/dev/v4l/by-id/usb-cam-index0", Choice(Kind.DEVICE, "/dev/v4l/by-id/usb-cam-index0")),
        ("rtsp://user:pw@cam:8554/x?y=1", Choice(Kind.STREAM, "rtsp://user:pw@cam:8554/x?y=1")),
        ("HTTP://cam/video", Choice(Kind.STREAM, "HTTP://cam/video")),
        ("clips/kiosk.mp4", Choice(Kind.FILE, "clips/kiosk.mp4")),
        ("kiosk.mp4", Choice(Kind.FILE, "kiosk.mp4")),
        ("./kiosk", Choice(Kind.FILE, "./kiosk")),
        ("file:///srv/kiosk.mp4", Choice(Kind.FILE, "/srv/kiosk.mp4")),
        ("plugin:thermal", Choice(Kind.PLUGIN, "thermal")),
    ],
)
def test_camera(text: str, choice: Choice) -> None:
    assert parse_camera(text) == choice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("picamra", "did you mean 'picamera'"),
        ("webcam", "V4L2 index"),
        ("-1", "names no source"),
        ("²", "names no source"),
        ("rtmp://cam/x", "rtmp:// is not supported"),
        ("rtsp:///x", "lacks a host"),
        ("plugin:", "no plugin name"),
        ("plugin:Bad-Name", "no plugin name"),
    ],
)
def test_camera_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^camera\.source") as raised:
        parse_camera(text)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", Choice(Kind.AUTO)),
        ("none", Choice(Kind.NONE)),
        ("demo", Choice(Kind.DEMO)),
        ("3", Choice(Kind.DEVICE, "3")),
        ("hw:1,0", Choice(Kind.DEVICE, "hw:1,0")),
        ("USB PnP Sound Device: Audio", Choice(Kind.DEVICE, "USB PnP Sound Device: Audio")),
        ("UMIK-1 v1.0", Choice(Kind.DEVICE, "UMIK-1 v1.0")),
        ("kiosk.MP4", Choice(Kind.FILE, "kiosk.MP4")),
        ("media/kiosk.wav", Choice(Kind.FILE, "media/kiosk.wav")),
        ("/srv/sound", Choice(Kind.FILE, "/srv/sound")),
        ("plugin:array", Choice(Kind.PLUGIN, "array")),
    ],
)
def test_microphone(text: str, choice: Choice) -> None:
    assert parse_microphone(text) == choice


@pytest.mark.parametrize("text", ["", "rtsp://cam/x", "http://cam/x", "plugin:No"])
def test_microphone_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^microphone\.source"):
        parse_microphone(text)


def test_redacted_url_has_no_credentials_and_no_query() -> None:
    assert redact("rtsp://user:secret@cam.local:554/live?token=secret#secret") == "rtsp://cam.local:554/live"
    assert redact("http://secret@cam:99999/x") == "http://cam/x"


def test_refusal_does_not_repeat_credentials() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_camera("rtsp://user:secret@/x")
    assert "secret" not in str(raised.value)
