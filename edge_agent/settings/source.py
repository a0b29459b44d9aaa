"""What the text of ``camera.source`` and ``microphone.source`` means. Looks at no device and opens no file.

The settings parse both when they are loaded, so what cannot be understood is refused by every command alike. An error
never repeats a source that looks like an address: it may hold a password.
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
"""Network protocols a camera may be read from."""

MEDIA_SUFFIXES = (
    *("aac", "ac3", "aif", "aiff", "amr", "ape", "au", "caf", "flac", "m4a", "mka", "mp2", "mp3"),
    *("oga", "ogg", "opus", "tta", "voc", "w64", "wav", "wma", "wv"),
    *("3gp", "asf", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf"),
    *("ogv", "ts", "vob", "webm", "wmv"),
)
"""File name endings that tell a media file from the name of a sound device."""

_PLUGIN = re.compile(r"[a-z][a-z0-9_]*")
_PATHS = ("/", "./", "../", "~")
_LIKE_AN_ADDRESS = re.compile(r":.*@|//.*@|[?&]\w+=|^\w+:/", re.DOTALL)


class SourceKind(Enum):
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

    kind: SourceKind
    value: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The source as it may be shown: an address without login, path and query."""
        if self.kind is SourceKind.STREAM:
            return str(parse_address(self.value))
        if self.kind is SourceKind.PLUGIN:
            return f"plugin:{self.value}"
        return self.value or self.kind.value


def parse_camera(text: str) -> Choice:
    """Meaning of ``camera.source``; a number is a V4L2 index.

    Raises:
        ConfigError: empty, an unknown URL scheme, a malformed plugin name, or a lone word that names nothing.
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
    raise ConfigError(f"{option}: {text!r} names no source{hint} (a file without ending is written ./{text})")


def parse_microphone(text: str) -> Choice:
    """Meaning of ``microphone.source``; anything that is neither word, file nor plugin is (part of) a device's name.

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
        raise ConfigError(f"{option}: is empty; use 'none' to go without")
    return text


def _word(text: str, kinds: tuple[SourceKind, ...]) -> Choice | None:
    return next((Choice(kind) for kind in kinds if text.lower() == kind.value), None)


def _plugin(option: str, text: str) -> Choice | None:
    prefix, colon, name = text.partition(":")
    if prefix.lower() != "plugin" or not colon:
        return None
    if not _PLUGIN.fullmatch(name):
        raise ConfigError(f"{option}: what follows plugin: is no plugin name: use lower-case letters, digits and _")
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
        what = f"{scheme}:// is not supported" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "no such address"
        raise ConfigError(f"{option}: {what}; use {known}")
    try:
        parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
    return Choice(SourceKind.STREAM, text)


def _refuse_half_an_address(option: str, text: str) -> None:
    """``admin:password@camera/live`` is no file to look for, and nothing to repeat in an error."""
    if not text.startswith(_PATHS) and _LIKE_AN_ADDRESS.search(text):
        hint = "begin an address with rtsp:// or http://, the name of a file with ./"
        raise ConfigError(f"{option}: looks like an address without its protocol; {hint}")


def _file(option: str, text: str) -> Choice:
    """A file, the home folder in its name looked up."""
    try:
        return Choice(SourceKind.FILE, str(expand_home(Path(text))) if text.startswith("~") else text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def expand_home(path: Path) -> Path:
    """``path`` with ``~`` at its beginning looked up. Raises ValueError: there is no such home folder."""
    try:
        return path.expanduser() if str(path).startswith("~") else path
    except RuntimeError:
        raise ValueError("there is no home folder that ~ could mean here; write the whole path") from None


HomePath = Annotated[Path, AfterValidator(expand_home)]
"""The type of an option that names a file or folder."""


def _as_text(value: object) -> object:
    """A number is a device's index, in quotes or not."""
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
"""The types of the two options: text, or the number of a device, that is understood."""
