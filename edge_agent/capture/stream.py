"""Network cameras: RTSP, and MJPEG or any other video over HTTP, decoded by :mod:`edge_agent.capture.decode`.

PyAV rather than OpenCV's reader: connecting and reading have time limits that work, and a damaged picture is dropped
and counted, where OpenCV would hand over its grey remains. It reads as fast as the camera sends, which keeps the delay
short, so use it inside :class:`~edge_agent.capture.watched.Watched`, which keeps the latest frame only. Only protocol,
host and port of a URL are ever shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from edge_agent.capture.decode import decode_pictures, open_stream
from edge_agent.capture.pace import Thinner
from edge_agent.capture.picture import Picture
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError
from edge_agent.domain.media import Frame
from edge_agent.domain.text import parse_address

_OPTIONS = {"fflags": "nobuffer", "analyzeduration": "1000000"}
_RTSP = {"rtsp_transport": "tcp"}
"""TCP: over Wi-Fi, UDP loses packets and with them whole groups of pictures."""


class StreamCamera:
    """The pictures behind ``url``, BGR, whatever size they have, at most ``fps`` of them a second.

    ``open_s`` bounds connecting, ``read_s`` the wait for each picture.
    """

    def __init__(self, url: str, clock: Clock, fps: float, open_s: float, read_s: float) -> None:
        self._url = url
        self._shown = str(parse_address(url))
        self._clock = clock
        self._fps = fps
        self._open_s = open_s
        self._read_s = read_s
        self._stack = ExitStack()
        self._pictures: Iterator[Picture] = iter(())
        self._skipped = 0
        self._thinner = Thinner(fps)

    def open(self) -> None:
        """Connect. Raises DeviceUnavailableError."""
        options = _OPTIONS | (_RTSP if self._url.lower().startswith("rtsp") else {})
        try:
            container = self._stack.enter_context(open_stream(self._url, options, self._open_s, self._read_s))
        except MediaError as error:
            raise DeviceUnavailableError(f"camera {self._shown}: {error}") from error
        self._pictures = decode_pictures(container)
        self._skipped, self._thinner = 0, Thinner(self._fps)

    def read(self) -> Frame | None:
        """The next frame that is due. Raises DeviceUnavailableError when the stream ends or stalls."""
        try:
            for picture in self._pictures:
                now = self._clock.monotonic()
                if not self._thinner.wants(now):
                    # Sent faster than asked for: left out on purpose, so not counted as dropped.
                    self._skipped += 1
                    continue
                picture.index -= self._skipped
                frame = picture.to_frame(now)
                if frame is not None:
                    return frame
        except MediaError as error:
            raise DeviceUnavailableError(f"camera {self._shown}: {error}") from error
        raise DeviceUnavailableError(f"camera {self._shown}: the stream ended")

    def close(self) -> None:
        """Disconnect; to be called by the reading thread."""
        self._pictures = iter(())
        self._stack.close()
