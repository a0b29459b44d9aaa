"""What the text of ``camera.source`` and ``microphone.source`` means. Pure: looks at no device and no file system."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from edge_agent.domain.errors import ConfigError

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Network protocols a camera may be read from."""

MEDIA_SUFFIXES = (
    *("aac", "aif", "aiff", "flac", "m4a", "mka", "mp3", "oga", "ogg", "opus", "wav", "wma"),
    *("3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "ts", "webm", "wmv"),
)
"""File name endings that tell a media file from the name of a sound device."""

_PLUGIN = re.compile(r"[a-z][a-z0-9_]*")


class Kind(Enum):
    """Where pictures or sound come from."""

    NONE = "none"
    AUTO = "auto"
    DEMO = "demo"
    PICAMERA = "picamera"
    DEVICE = "device"
    STREAM = "stream"
    FILE = "file"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True)
class Choice:
    """A parsed source. ``value`` is the device (path, index or name), URL, file or plugin name; else empty."""

    kind: Kind
    value: str = ""


def parse_camera(text: str) -> Choice:
    """Meaning of ``camera.source``; a number is a V4L2 index.

    Raises:
        ConfigError: empty, an unknown URL scheme, a malformed plugin name, or a lone word that names nothing.
    """
    option = "camera.source"
    text = _stripped(option, text)
    words = (Kind.AUTO, Kind.NONE, Kind.DEMO, Kind.PICAMERA)
    common = _word(text, words) or _plugin(option, text) or _url(option, text)
    if common:
        return common
    if text.isascii() and text.isdigit():
        return Choice(Kind.DEVICE, f"/dev/video{int(text)}")
    if text.startswith("/dev/"):
        return Choice(Kind.DEVICE, text)
    if "/" in text or "." in text:
        return Choice(Kind.FILE, text)
    names = [kind.value for kind in words]
    close = difflib.get_close_matches(text.lower(), names, n=1)
    hint = (
        f"did you mean {close[0]!r}?"
        if close
        else f"use {', '.join(names)}, a V4L2 index, /dev/video0, a URL or plugin:NAME"
    )
    raise ConfigError(f"{option} = {text!r} names no source; {hint} (a file without ending is written ./{text})")


def parse_microphone(text: str) -> Choice:
    """Meaning of ``microphone.source``; anything that is neither word, file nor plugin is (part of) a device's name.

    Raises:
        ConfigError: empty, a URL, or a malformed plugin name.
    """
    option = "microphone.source"
    text = _stripped(option, text)
    common = _word(text, (Kind.AUTO, Kind.NONE, Kind.DEMO)) or _plugin(option, text) or _url(option, text)
    if common and common.kind is Kind.STREAM:
        raise ConfigError(f"{option}: sound cannot be read from a URL; give a device name or index, or a media file")
    if common:
        return common
    if text.startswith(("/", "./", "../", "~")) or text.rpartition(".")[2].lower() in MEDIA_SUFFIXES:
        return Choice(Kind.FILE, text)
    return Choice(Kind.DEVICE, text)


def redact(url: str) -> str:
    """The URL without user name, password and query: fit for logs and errors."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _stripped(option: str, text: str) -> str:
    text = text.strip()
    if not text:
        raise ConfigError(f"{option} is empty; use 'none' to go without")
    return text


def _word(text: str, kinds: tuple[Kind, ...]) -> Choice | None:
    return next((Choice(kind) for kind in kinds if text.lower() == kind.value), None)


def _plugin(option: str, text: str) -> Choice | None:
    prefix, colon, name = text.partition(":")
    if prefix.lower() != "plugin" or not colon:
        return None
    if not _PLUGIN.fullmatch(name):
        raise ConfigError(f"{option} = {text!r}: {name!r} is no plugin name: use lower-case letters, digits and _")
    return Choice(Kind.PLUGIN, name)


def _url(option: str, text: str) -> Choice | None:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return None
    scheme = scheme.lower()
    if scheme == "file":
        return Choice(Kind.FILE, rest)
    if scheme not in STREAM_SCHEMES:
        raise ConfigError(f"{option}: {scheme}:// is not supported; use {', '.join(s + '://' for s in STREAM_SCHEMES)}")
    if not urlsplit(text).hostname:
        raise ConfigError(f"{option}: {redact(text)!r} lacks a host name")
    return Choice(Kind.STREAM, text)
