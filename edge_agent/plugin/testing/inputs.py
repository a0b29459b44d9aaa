"""Test inputs for analyzers: everyday pictures, sound and sentences, and edge cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_agent.domain.face import Box, Face, KeyPoints, Point, TrackedFace
from edge_agent.domain.media import AUDIO_RATE, AudioBlock, Frame, PixelFormat
from edge_agent.domain.speech import Utterance, Word
from edge_agent.plugin.spec import Kind

Question = tuple[Frame, tuple[TrackedFace, ...]] | AudioBlock | Utterance
"""Input of one call: a frame with its tracked faces, a block of sound, or an utterance."""

SOUND = frozenset({Kind.AUDIO, Kind.SPEECH})
"""Kinds that are given blocks of sound."""

_SIZES = ((1, 1), (2, 2), (3, 5), (48, 64), (40, 30), (480, 640), (16, 640))
"""Heights and widths."""


def everyday(kind: Kind) -> list[Question]:
    """Generate ten VGA pictures with two people, ten seconds of a quiet room, or ten sentences."""
    noise = np.random.default_rng(1)
    if kind is Kind.TEXT:
        return [Utterance(text, 100.0 + n, 101.0 + n) for n, text in enumerate(_SENTENCES)]
    if kind in SOUND:
        hiss = noise.normal(0, 0.01, (10, AUDIO_RATE)).astype(np.float32)
        return [AudioBlock(samples, 100.0 + n) for n, samples in enumerate(hiss)]
    image = noise.integers(0, 256, (480, 640, 3), np.uint8)
    faces = _people((0.1, 0.2, 0.2, 0.3), (0.6, 0.3, 0.15, 0.2))
    return [(Frame.from_bgr(image, 100.0 + n, n), faces) for n in range(10)]


def odd(kind: Kind) -> Iterator[Question]:
    """Generate edge cases: every pixel format from one pixel to VGA with impossible faces, blocks of any length, or
    texts from none to a book's chapter in any script."""
    if kind is Kind.TEXT:
        return _odd_texts()
    return _odd_sound() if kind in SOUND else _odd_pictures()


_SENTENCES = (
    "What a lovely surprise, thank you so much!",
    "I have been waiting here for half an hour.",
    "Could somebody tell me where the next train leaves?",
    "That is the worst coffee I have ever had.",
    "We are closed on Mondays.",
    "I am sorry, I did not mean to hurt you.",
    "She was so proud when her son came first.",
    "Oh no, not again.",
    "Maybe it will get better tomorrow.",
    "He told me a joke and I could not stop laughing.",
)


def _odd_texts() -> Iterator[Utterance]:
    """Generate nothing, blanks, one letter, other scripts, emoji, control characters, half a surrogate pair, and text
    without end; spoken, with words and their times, or written."""
    texts = (
        "", " \n\t ", "a", "?!...", "12 345", "Ich freue mich, dich zu sehen.", "\u4f60\u597d\uff0c\u8c22\u8c22",
        "\u0645\u0631\u062d\u0628\u0627", "\U0001f600\U0001f44d\U0001f3fd", "a\0b\x1b[31m", "half \ud83d of a pair",
        "e\u0301" * 50, "loud" * 5_000, "one word after the other " * 4_000,
    )  # fmt: skip
    for n, text in enumerate(texts):
        yield Utterance(text)
        begin = 100.0 + n
        parts = text.split()[:100]
        words = tuple(Word(part, begin + k / 100, begin + (k + 1) / 100, 0.5) for k, part in enumerate(parts))
        yield Utterance(text, begin, begin + 1.0, 0.5, words)


def _odd_pictures() -> Iterator[Question]:
    noise = np.random.default_rng(0)
    faces = (
        (),
        _people((0.0, 0.0, 1.0, 1.0)),
        _people((-0.5, 0.7, 0.8, 0.6), (0.4, 0.4, 0.0, 0.0), (2.0, -3.0, 0.1, 0.1)),
        _people(*((0.1 * n, 0.1 * n, 0.2, 0.2) for n in range(10))),
        (TrackedFace("plain", Face(Box(0.2, 0.2, 0.5, 0.5), 1.0), 100.0),),
    )
    index = 0
    for height, width in _SIZES:
        for layout in PixelFormat:
            if layout is PixelFormat.I420 and (height % 2 or width % 2):
                continue  # its planes of half the size need even sides
            shape = _shape(layout, height, width)
            # The last one is every other column of a wider picture: not contiguous in memory.
            wide = np.full((shape[0], 2 * shape[1], *shape[2:]), 255, np.uint8)
            for data in (np.zeros(shape, np.uint8), noise.integers(0, 256, shape, np.uint8), wide[:, ::2]):
                yield Frame(data, layout, width, height, 100.0 + 0.2 * index, index), faces[index % len(faces)]
                index += 1


def _shape(layout: PixelFormat, height: int, width: int) -> tuple[int, ...]:
    if layout is PixelFormat.BGR:
        return height, width, 3
    return (height, width) if layout is PixelFormat.GRAY else (height * 3 // 2, width)


def _people(*boxes: tuple[float, float, float, float]) -> tuple[TrackedFace, ...]:
    """Make one tracked face per box, with key points as of BlazeFace, increasingly tilted."""
    people = []
    for n, (x, y, w, h) in enumerate(boxes):
        at = [(0.3, 0.3), (0.7, 0.3 + 0.1 * n), (0.5, 0.55), (0.5, 0.75), (0.05, 0.35), (0.95, 0.35)]
        points = KeyPoints(*(Point(x + w * px, y + h * py) for px, py in at))
        people.append(TrackedFace(f"track{n}", Face(Box(x, y, w, h), 0.95 - 0.05 * n, points), 99.0))
    return tuple(people)


def _odd_sound() -> Iterator[AudioBlock]:
    """Generate silence, noise, full scale, a step and a tone, some after a gap."""
    noise = np.random.default_rng(0)
    silence = np.zeros(AUDIO_RATE, np.float32)
    full = np.sign(np.sin(np.arange(AUDIO_RATE, dtype=np.float32))).astype(np.float32)
    hiss = noise.uniform(-0.3, 0.3, 4 * AUDIO_RATE).astype(np.float32)
    tone = (0.5 * np.sin(np.arange(3 * AUDIO_RATE) * 0.2)).astype(np.float32)
    gap = 0.5
    pieces: list[tuple[npt.NDArray[np.float32], float]] = [
        (silence[:0], 0.0),
        (silence[:1], 0.0),
        (silence, 0.0),
        *((hiss[n : n + 160], 0.0) for n in range(0, 1600, 160)),
        (full, 0.0),
        (silence[:0], gap),
        (hiss, 0.0),
        (hiss[:7], gap),
        (tone, gap),
        (np.ones(AUDIO_RATE, np.float32), 0.0),
        (np.repeat(silence, 2)[::2], 0.0),
    ]
    now = 100.0
    for samples, lost in pieces:
        block = AudioBlock(samples, now + lost, lost)
        yield block
        now = block.end
