"""Parse ``camera.source`` and ``microphone.source``, without opening devices or files.

Both are parsed when the settings are loaded, so that every command refuses the same values. Errors never repeat a
source that looks like an address: it may contain a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from edge_agent.domain.errors import ConfigError
from edge_agent.domain.text import did_you_mean, parse_address

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Protocols of network cameras."""

MEDIA_SUFFIXES = (
    *("aac", "ac3", "aif", "aiff", "amr", "ape", "au", "caf", "flac", "m4a", "mka", "mp2", "mp3"),
    *("oga", "ogg", "opus", "tta", "voc", "w64", "wav", "wma", "wv"),
    *("3gp", "asf", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf"),
    *("ogv", "ts", "vob", "webm", "wmv"),
)
"""File name extensions that tell media files from names of sound devices."""

_PLUGIN = re.compile(r"[a-z][a-z0-9_]*")
_PATHS = ("/", "./", "../", "~")
_LIKE_AN_ADDRESS = re.compile(r":.*@|//.*@|[?&]\w+=|^\w+:/", re.DOTALL)


class SourceKind(Enum):
    """Kinds of camera and microphone sources."""

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
    """A parsed source. ``value``: device (path, index or name), URL, file or plugin name; else empty."""

    kind: SourceKind
    value: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The source for display: addresses without login, path and query."""
        if self.kind is SourceKind.STREAM:
            return str(parse_address(self.value))
        if self.kind is SourceKind.PLUGIN:
            return f"plugin:{self.value}"
        return self.value or self.kind.value


def parse_camera(text: str) -> Choice:
    """Parse ``camera.source``; a number is a V4L2 index.

    Raises:
        ConfigError: empty, an unknown URL scheme, a malformed plugin name, or an unknown word.
    """
    option = "camera.source"
    text = _stripped(option, text)
    words = (SourceKind.AUTO, SourceKind.NONE, SourceKind.DEMO, SourceKind.PICAMERA)
    common = _word(text, words) or _plugin(option, text) or _url(option, text)
    if common:
        return common
    if text.isascii() and text.isdigit():
        return Choice(SourceKind.DEVICE, f"/dev/video{int(text)}")
    if text.startswith("/dev/"):
        return Choice(SourceKind.DEVICE, text)
    if "/" in text or "." in text or text.startswith("~"):
        return _file(option, text)
    hint = did_you_mean(text, (kind.value for kind in words), "use {}, a V4L2 index, /dev/video0, a URL or plugin:NAME")
    raise ConfigError(f"{option}: {text!r} is not a source{hint} (a file without ending is written ./{text})")


def parse_microphone(text: str) -> Choice:
    """Parse ``microphone.source``; what is no keyword, file or plugin is a device name or a part of it.

    Raises:
        ConfigError: empty, a URL, or a malformed plugin name.
    """
    option = "microphone.source"
    text = _stripped(option, text)
    common = (
        _word(text, (SourceKind.AUTO, SourceKind.NONE, SourceKind.DEMO)) or _plugin(option, text) or _url(option, text)
    )
    if common and common.kind is SourceKind.STREAM:
        raise ConfigError(f"{option}: sound cannot be read from a URL; give a device name or index, or a media file")
    if common:
        return common
    if text.startswith(_PATHS) or text.rpartition(".")[2].lower() in MEDIA_SUFFIXES:
        return _file(option, text)
    return Choice(SourceKind.DEVICE, text)


def _stripped(option: str, text: str) -> str:
    text = text.strip()
    if not text:
        raise ConfigError(f"{option}: must not be empty; 'none' switches it off")
    return text


def _word(text: str, kinds: tuple[SourceKind, ...]) -> Choice | None:
    return next((Choice(kind) for kind in kinds if text.lower() == kind.value), None)


def _plugin(option: str, text: str) -> Choice | None:
    prefix, colon, name = text.partition(":")
    if prefix.lower() != "plugin" or not colon:
        return None
    if not _PLUGIN.fullmatch(name):
        raise ConfigError(f"{option}: after plugin: write the plugin's name: lower-case letters, digits and _")
    return Choice(SourceKind.PLUGIN, name)


def _url(option: str, text: str) -> Choice | None:
    scheme, separator, rest = text.partition("://")
    if not separator:
        _refuse_half_an_address(option, text)
        return None
    scheme = scheme.lower()
    if scheme == "file":
        _refuse_half_an_address(option, rest)
        return Choice(SourceKind.FILE, rest)
    if scheme not in STREAM_SCHEMES:
        known = ", ".join(s + "://" for s in STREAM_SCHEMES)
        what = f"{scheme}:// is not supported" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "not a valid address"
        raise ConfigError(f"{option}: {what}; use {known}")
    try:
        parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
    return Choice(SourceKind.STREAM, text)


def _refuse_half_an_address(option: str, text: str) -> None:
    """Refuse ``admin:password@camera/live``: it is not a file, and errors must not repeat it."""
    if not text.startswith(_PATHS) and _LIKE_AN_ADDRESS.search(text):
        hint = "write an address as rtsp://HOST/PATH or http://HOST/PATH, a file as ./NAME"
        raise ConfigError(f"{option}: looks like an address without its protocol; {hint}")


def _file(option: str, text: str) -> Choice:
    """Make a file source, with ``~`` expanded."""
    try:
        return Choice(SourceKind.FILE, str(expand_home(Path(text))) if text.startswith("~") else text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def expand_home(path: Path) -> Path:
    """Expand ``~`` at the beginning of ``path``. Raises ValueError without such a home folder."""
    try:
        return path.expanduser() if str(path).startswith("~") else path
    except RuntimeError:
        raise ValueError("there is no home folder to use for ~; write the whole path") from None


HomePath = Annotated[Path, AfterValidator(expand_home)]
"""Type of options that name a file or folder."""


def _as_text(value: object) -> object:
    """Accept the index of a device without quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _understood(option: str, parse: Callable[[str], Choice]) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            parse(text)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix(f"{option}: ")) from None
        return text

    return check


CameraSource = Annotated[str, BeforeValidator(_as_text), AfterValidator(_understood("camera.source", parse_camera))]
MicrophoneSource = Annotated[
    str, BeforeValidator(_as_text), AfterValidator(_understood("microphone.source", parse_microphone))
]
"""Types of the two options: text, or the index of a device, that can be parsed."""
