"""Read microphones through PortAudio; owns sounddevice.

The device is looked up by name at every opening, after PortAudio has scanned anew, so a microphone that was unplugged,
moved to another port or renumbered is found again. The device runs at its own rate; mixing, resampling and repair
happen on the reading thread. PortAudio's calls may hang in a driver: use it inside
:class:`~edge_agent.capture.reopening.Watched`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.capture.sound import Chunk, Mixer, Resampler, SampleClock, SampleRing, Samples, replace_bad
from edge_agent.capture.timing import Pacer
from edge_agent.domain.clock import Clock
from edge_agent.domain.errors import ConfigError, DeviceUnavailableError, MediaError, denial
from edge_agent.domain.media import AUDIO_RATE, AudioBlock
from edge_agent.domain.native import native_lines

log = logging.getLogger(__name__)

BUFFER_S = 5.0
"""Seconds of sound that the ring buffer holds for a late reader."""

BLOCK_S = 0.1
_MIX_CHANNELS = 8
"""A device with more channels is a virtual device of a sound server: two are opened."""

Device = Mapping[str, Any]


def stable_name(name: str) -> str:
    """Strip ALSA's numbers, which change with the order of plugging, from a name: ``USB Mic: Audio (hw:2,0)``."""
    return re.sub(r"\s*\((plug)?hw:\d+,\d+\)$", "", name)


def choose_device(devices: Sequence[Device], wanted: str, default: int = -1, known: str | None = None) -> int:
    """Choose the input device for ``wanted``: ``auto``, an index, or a name or part of it in any case.

    ``devices`` is PortAudio's list and ``default`` its default input. ``known`` is the stable name that an index had
    when it was first used; a device of that name is preferred to the one at the index now.

    Raises:
        DeviceUnavailableError: no such device now.
    """
    inputs = {i: str(d["name"]) for i, d in enumerate(devices) if d["max_input_channels"] > 0}
    if not inputs:
        why = _why_none(Path("/dev/snd")) or "plug one in"
        raise DeviceUnavailableError(f"no microphone: PortAudio lists no input device; {why}")
    if wanted == "auto":
        return default if default in inputs else next(iter(inputs))
    if wanted.isascii() and wanted.isdigit():
        named = [i for i, name in inputs.items() if stable_name(name) == known]
        # Of several devices with one name, the one that still has the index.
        same = [i for i in inputs if i == int(wanted)]
        found = sorted(named, key=lambda i: i not in same) if known is not None else same
    else:
        exact = [i for i, name in inputs.items() if wanted.lower() in (name.lower(), stable_name(name).lower())]
        found = exact or [i for i, name in inputs.items() if wanted.lower() in name.lower()]
    if found:
        return found[0]
    there = ", ".join(sorted({repr(stable_name(name)) for name in inputs.values()}))
    was = f" ({known})" if known else ""
    raise DeviceUnavailableError(f"microphone {wanted!r}{was} is not there; present: {there}")


def _why_none(cards: Path) -> str:
    """Explain why existing sound cards cannot be opened; empty when they can, or when there are none."""
    for card in sorted(cards.glob("controlC*")):
        try:
            os.close(os.open(card, os.O_RDWR | os.O_NONBLOCK))
        except PermissionError as error:
            return f"{card} may not be opened: {denial(error)}"
        except OSError:
            continue  # gone meanwhile, or busy: no lack of permission
    return ""


def channels_for(available: int, channel: int | None) -> int:
    """Return how many channels to open: up to the wanted one, or those worth mixing."""
    if channel is not None:
        return channel + 1
    return available if available <= _MIX_CHANNELS else 2


class DeviceMemory:
    """State that outlives one opening of a microphone: the name behind an index, and PortAudio's open streams."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.openings = 0
        self.streams = 0


class Microphone:
    """Microphone: the input device chosen by :func:`choose_device`, in blocks of about 0.1 s.

    For one opening; make a new one with the same ``memory`` to open again. ``stall_s``: a device that delivers no
    samples for this long is lost. ``bad_samples`` counts NaN and infinities that were replaced by silence.
    """

    def __init__(
        self,
        clock: Clock,
        memory: DeviceMemory,
        wanted: str = "auto",
        channel: int | None = None,
        stall_s: float = 5.0,
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._wanted = wanted
        self._channel = channel
        self._stall_s = stall_s
        self._label = "microphone"
        self._stream: Any = None
        self._assembler: Assembler | None = None
        self._pacer: Pacer | None = None

    @property
    def bad_samples(self) -> int:
        return self._assembler.bad_samples if self._assembler else 0

    def open(self) -> None:
        """Find the device and start it.

        Raises:
            DeviceUnavailableError: it is absent, busy or refuses.
            MediaError: PortAudio is not installed.
            ConfigError: it has no such channel.
        """
        portaudio = _portaudio()
        try:
            with native_lines(log):
                self._scan(portaudio)
                self._start(portaudio)
        except portaudio.PortAudioError as error:
            raise DeviceUnavailableError(f"{self._label} cannot be opened: {error}") from error

    def _scan(self, portaudio: Any) -> None:
        """Make PortAudio scan for devices again, which it does only when initialised."""
        if self._memory.openings and not self._memory.streams:
            portaudio._terminate()
            portaudio._initialize()
        self._memory.openings += 1

    def _warn_of_twins(self, devices: Sequence[Device], number: int) -> None:
        """Warn once when several devices share the name, since the order of plugging decides which one is opened."""
        name = stable_name(devices[number]["name"])
        twins = [str(d["name"]) for d in devices if d["max_input_channels"] > 0 and stable_name(d["name"]) == name]
        if len(twins) > 1 and self._memory.openings == 1 and self._wanted not in twins:
            names = ", ".join(map(repr, twins))
            log.warning(
                "%d microphones are called %r; to choose one, set microphone.source to one of: %s",
                len(twins),
                name,
                names,
            )

    def _start(self, portaudio: Any) -> None:
        devices = list(portaudio.query_devices())
        number = choose_device(devices, self._wanted, portaudio.default.device[0], self._memory.name)
        device = devices[number]
        self._warn_of_twins(devices, number)
        self._memory.name = stable_name(device["name"])
        self._label = f"microphone {self._memory.name!r}"
        available = int(device["max_input_channels"])
        channels = channels_for(available, self._channel)
        if channels > available:
            raise ConfigError(
                f"microphone.channel = {self._channel}, but {self._label} has channels 0 to {available - 1}"
            )
        rate = float(device["default_samplerate"])
        ring = SampleRing(int(BUFFER_S * rate), channels)
        clock = self._clock

        def receive(samples: Any, _frames: int, _time: Any, status: Any) -> None:
            ring.write(samples, clock.monotonic(), bool(status.input_overflow))

        stream = portaudio.InputStream(
            device=number, channels=channels, samplerate=rate, dtype="float32", latency="high", callback=receive
        )
        self._memory.streams += 1
        self._stream = stream
        try:
            stream.start()
        except portaudio.PortAudioError:
            self.close()
            raise
        self._assembler = Assembler(ring, rate, self._channel, latency=float(stream.latency))
        self._pacer = Pacer(clock)
        log.info("%s: %d channel(s) at %g Hz", self._label, channels, rate)

    def read(self) -> AudioBlock | None:
        """Wait for the next block. Raises DeviceUnavailableError when the device stopped or stalls."""
        if self._pacer is None or self._assembler is None:
            return None
        heard = self._clock.monotonic()
        while True:
            block = self._assembler.take()
            if block is not None:
                return block
            if not self._stream.active:
                raise DeviceUnavailableError(f"{self._label} is gone; plug it in again")
            if self._clock.monotonic() - heard > self._stall_s:
                raise DeviceUnavailableError(f"{self._label} has delivered no sound for {self._stall_s:g} s")
            if not self._pacer.wait(BLOCK_S / 2):
                return None

    def interrupt(self) -> None:
        """Make :meth:`read` return."""
        pacer = self._pacer
        if pacer is not None:
            pacer.stop()

    def close(self) -> None:
        """Release the device; to be called by the reading thread."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)
            self._memory.streams -= 1


class Assembler:
    """Assemble blocks of mono sound at :data:`AUDIO_RATE`, with times and gaps, from a ring buffer."""

    def __init__(self, ring: SampleRing, rate: float, channel: int | None, latency: float = 0.0) -> None:
        self._ring = ring
        self._rate = rate
        self._mixer = Mixer(channel)
        self._times = SampleClock(rate, latency)
        self._resampler = Resampler(rate)
        self._position = 0
        """Position of the next chunk in frames since the start, lost ones included."""
        self._begin = 0
        """Position at which the current continuous stretch began."""
        self._made = 0
        """Samples of that stretch already delivered."""
        self._gap = 0.0
        self.bad_samples = 0

    def take(self) -> AudioBlock | None:
        """Return the next block; None when there is not enough sound yet."""
        size = round(self._rate * BLOCK_S)
        while self._ring.ready >= size and (chunk := self._ring.take(size)) is not None:
            self._mind(chunk)
            self._position += len(chunk.samples)
            mono, bad = replace_bad(self._mixer.push(chunk.samples, self._rate))
            self.bad_samples += bad
            samples = self._resampler.push(mono)
            if len(samples):
                return self._block(samples)
        return None

    def _mind(self, chunk: Chunk) -> None:
        """Account for lost sound before the chunk."""
        delivered, at = self._ring.arrival
        missing = chunk.lost / self._rate + self._times.observe(delivered, at, resync=chunk.flagged)
        if not (chunk.lost or chunk.flagged or missing):
            return
        self._gap += missing
        self._position += chunk.lost
        self._begin, self._made = self._position, 0
        self._resampler = Resampler(self._rate)

    def _block(self, samples: Samples) -> AudioBlock:
        begin = self._begin + self._made * self._rate / AUDIO_RATE
        block = AudioBlock(samples, self._times.time(begin), self._gap)
        self._made += len(samples)
        self._gap = 0.0
        return block


def list_microphones() -> list[str]:
    """List the names of sound inputs, as ``microphone.source`` takes them; empty without any, or without PortAudio."""
    try:
        portaudio = _portaudio()
        devices = list(portaudio.query_devices())
    except (MediaError, OSError):
        return []
    return list(dict.fromkeys(stable_name(d["name"]) for d in devices if d["max_input_channels"] > 0))


def _portaudio() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise MediaError("the microphone needs PortAudio: sudo apt install libportaudio2") from error
    return sounddevice
