"""What the source strings of the configuration mean."""

from __future__ import annotations

import pytest

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import mask_addresses
from edge_agent.settings.source import Choice, SourceKind, parse_camera, parse_microphone


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", Choice(SourceKind.AUTO)),
        (" Demo ", Choice(SourceKind.DEMO)),
        ("none", Choice(SourceKind.NONE)),
        ("picamera", Choice(SourceKind.PICAMERA)),
        ("0", Choice(SourceKind.DEVICE, "/dev/video0")),
        ("02", Choice(SourceKind.DEVICE, "/dev/video2")),
        ("/dev/v4l/by-id/usb-cam-index0", Choice(SourceKind.DEVICE, "/dev/v4l/by-id/usb-cam-index0")),
        ("rtsp://user:pw@cam:8554/x?y=1", Choice(SourceKind.STREAM, "rtsp://user:pw@cam:8554/x?y=1")),
        ("HTTP://cam/video", Choice(SourceKind.STREAM, "HTTP://cam/video")),
        ("clips/kiosk.mp4", Choice(SourceKind.FILE, "clips/kiosk.mp4")),
        ("kiosk.mp4", Choice(SourceKind.FILE, "kiosk.mp4")),
        ("./kiosk", Choice(SourceKind.FILE, "./kiosk")),
        ("file:///srv/kiosk.mp4", Choice(SourceKind.FILE, "/srv/kiosk.mp4")),
        ("plugin:thermal", Choice(SourceKind.PLUGIN, "thermal")),
    ],
)
def test_camera(text: str, choice: Choice) -> None:
    assert parse_camera(text) == choice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("picamra", "did you mean 'picamera'"),
        ("webcam", "V4L2 index"),
        ("-1", "is not a source"),
        ("²", "is not a source"),
        ("rtmp://cam/x", "rtmp:// is not supported"),
        ("rtsp:///x", "lacks a host"),
        ("plugin:", "after plugin: write the plugin's name"),
        ("plugin:Bad-Name", "after plugin: write the plugin's name"),
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
        ("auto", Choice(SourceKind.AUTO)),
        ("none", Choice(SourceKind.NONE)),
        ("demo", Choice(SourceKind.DEMO)),
        ("3", Choice(SourceKind.DEVICE, "3")),
        ("hw:1,0", Choice(SourceKind.DEVICE, "hw:1,0")),
        ("USB PnP Sound Device: Audio", Choice(SourceKind.DEVICE, "USB PnP Sound Device: Audio")),
        ("UMIK-1 v1.0", Choice(SourceKind.DEVICE, "UMIK-1 v1.0")),
        ("kiosk.MP4", Choice(SourceKind.FILE, "kiosk.MP4")),
        ("media/kiosk.wav", Choice(SourceKind.FILE, "media/kiosk.wav")),
        ("/srv/sound", Choice(SourceKind.FILE, "/srv/sound")),
        ("plugin:array", Choice(SourceKind.PLUGIN, "array")),
    ],
)
def test_microphone(text: str, choice: Choice) -> None:
    assert parse_microphone(text) == choice


@pytest.mark.parametrize("text", ["", "rtsp://cam/x", "http://cam/x", "plugin:No"])
def test_microphone_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^microphone\.source"):
        parse_microphone(text)


def test_a_shown_source_has_no_login_no_path_and_no_query() -> None:
    assert parse_camera("rtsp://user:secret@cam.local:554/live?token=secret").shown == "rtsp://***@cam.local:554/***"
    assert parse_camera("http://cam/").shown == "http://cam/"
    assert parse_camera("0").shown == "/dev/video0"
    assert parse_camera("plugin:thermal").shown == "plugin:thermal"
    assert "secret" not in repr(parse_camera("rtsp://user:secret@cam/x"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rtsp://admin:pa[NotTelling1@127.0.0.1:18554/live", "%5B"),
        ("rtsp://admin:pa]NotTelling1@127.0.0.1:18554/live", "%5D"),
        ("rtsp://admin:pa@NotTelling1@127.0.0.1:18554/live", "%40"),
        ("rtsp://admin:pa/NotTelling1@127.0.0.1:18554/live", "%2F"),
        ("rtsp://admin:12/NotTelling1@127.0.0.1:18554/live", "%2F"),
        ("rtsp://admin:pa?NotTelling1@127.0.0.1:18554/live", "%3F"),
        ("rtsp://admin:pa#NotTelling1@127.0.0.1:18554/live", "%23"),
        ("rtsp://admin:pa NotTelling1@127.0.0.1:18554/live", "%20"),
        ("rtsp://admin:pa%NotTelling1@127.0.0.1:18554/live", "%25"),
        ("rtsp://admin:pa\\NotTelling1@127.0.0.1:18554/live", "%5C"),
        ('rtsp://admin:pa"NotTelling1@127.0.0.1:18554/live', "%22"),
        ("rtsp://admin:pä_NotTelling1@127.0.0.1:18554/live", "%C3%A4"),
        ("rtsp://[fe80::1]x:NotTelling1/", "port"),
        ("rtsp://admin:NotTelling1", "port"),
        ("http://cam:NotTelling1/x", "port"),
        ("http://cam:99999/NotTelling1", "port"),
        ("rtsp://admin:NotTelling1@/x", "host name"),
        ("admin:NotTelling1@127.0.0.1/live", "rtsp://"),
        ("rtsp:/admin:NotTelling1@127.0.0.1/live", "rtsp://"),
        ("rtsp//admin:NotTelling1@127.0.0.1/live", "rtsp://"),
        ("127.0.0.1/cgi?user=a&pwd=NotTelling1", "rtsp://"),
        ("admin:NotTelling1@rtsp://cam/x", "rtsp://"),
        ("rtmp://admin:NotTelling1@cam/x", "rtmp:// is not supported"),
        ("file://admin:NotTelling1@cam/x", "rtsp://"),
        ("plugin:NotTelling1", "after plugin: write the plugin's name"),
    ],
)
def test_an_address_that_is_not_clear_is_refused_with_what_to_write(url: str, says: str) -> None:
    for parse in (parse_camera, parse_microphone):
        with pytest.raises(ConfigError) as raised:
            parse(url)
        assert "NotTelling1" not in str(raised.value)
        assert "\n" not in str(raised.value)
        if parse is parse_camera:
            assert says in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:pa%40ss%5B@192.0.2.7:554/Streaming/Channels/101",
        "rtsp://192.0.2.7/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream",
        "http://cam.lan:8080/?action=stream",
        "rtsp://[2001:db8::7]:8554/live",
        "rtsp://u:@küche.lan/x",
        "rtsp://u:a:b!$&'()*+,;=-._~@cam/x",
    ],
)
def test_addresses_of_real_cameras_are_understood(url: str) -> None:
    assert parse_camera(url).value == url


def test_refusal_does_not_repeat_credentials() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_camera("rtsp://user:secret@/x")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "source",
    ["rtsp:/admin:x@cam", "ftp://cam/live", "rtsp://a b@cam", "rtsp://a@b@cam", "rtsp://", "plugin:", "", "cam"],
)
def test_masking_leaves_the_hints_of_an_error_readable(source: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_camera(source)
    assert mask_addresses(str(raised.value)) == str(raised.value)


def test_masking_still_hides_what_follows_a_scheme() -> None:
    for text in (
        "rtsp:// user:secret@cam",
        "rtsp://:secret@cam",
        "rtsp://,:secret@cam",
        "rtsp://]secret",
        "http://.,secret",
    ):
        assert "secret" not in mask_addresses(f"cannot open {text}, {text}")
