"""Make the film that ``edge-agent demo`` shows: two people who come, make faces, make themselves heard, and go.

    python -m training.emotion.faces.demo --facekit ../shared/data/facekit/ict_facekit.npz --out edge_agent/cli/demo.mp4

Everything in it is made here: heads of the ICT-FaceKit model (MIT; the notice is ``edge_agent/cli/demo.txt``) before a
drawn room, and synthetic coughs and laughter over room noise. 640 x 480 pixels at 10 pictures a second, 16 kHz mono.
:data:`CAST` is the truth about it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from training.emotion.faces import head as heads
from training.emotion.faces.head import Array, Head
from training.emotion.faces.paint import Person, painted
from training.emotion.faces.raster import drawn
from training.emotion.faces.render import CENTRE, IDENTITY

WIDTH, HEIGHT, FPS, SECONDS, RATE = 640, 480, 10, 44, 16_000
EASE_S = 0.5
"""How long a face takes to change."""
SKIN = np.array([0.62, 0.78, 1.0], np.float32)
"""Blue, green and red of skin against its brightness."""

Samples = npt.NDArray[np.float64]
Formants = tuple[tuple[float, float, float], ...]
"""Resonances: Hz, width in Hz, strength."""

FACES: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "happiness": {"mouthSmile": 1.0, "cheekSquint": 0.7, "cheekRaiser": 0.6, "mouthUpperUp": 0.4, "mouthLowerDown": 0.3,
                  "jawOpen": 0.2},
    "surprise": {"browInnerUp": 1.0, "browOuterUp": 1.1, "eyeWide": 1.0, "jawOpen": 0.75, "mouthFunnel": 0.25},
    "sadness": {"browInnerUp": 1.0, "mouthFrown": 1.1, "eyeBlink": 0.25, "browDown": 0.3, "mouthShrugLower": 0.7},
    # Brows lowered and drawn together (AU 4: less of what lifts their inner ends), lids tight (7), teeth bared in an
    # open mouth (10, 16, 25, 26). A wrinkled nose (9) is the mark of disgust, so there is little of it.
    "anger": {"browDown": 1.7, "browInnerUp": -1.2, "eyeSquint": 0.4, "noseSneer": 0.3, "jawOpen": 0.4,
              "jawForward": 0.2, "mouthLowerDown": 0.9, "mouthUpperUp": 0.4},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """A person from ``comes`` to ``goes``, in seconds, at ``place`` of the picture's width: a face from each time of
    ``faces`` on, and the times between which the head is turned ``away``."""

    who: Person
    identity: int
    comes: float
    goes: float
    place: float
    side: int
    scale: float
    coat: tuple[int, int, int]
    faces: tuple[tuple[float, str], ...]
    away: tuple[tuple[float, float], ...] = ()

    def face_at(self, time: float) -> str:
        """The face that is made at ``time``."""
        return next((name for since, name in reversed(self.faces) if since <= time), "neutral")


CAST = (
    Role(Person(0.25, 0.62, 0.12, "short", 0.0, 0.8, 11), 3, 2.0, 30.0, 0.33, -1, 54, (150, 96, 58),
         ((0, "neutral"), (6, "happiness"), (13, "surprise"), (17, "neutral"), (24, "happiness")), ((18.5, 23.0),)),
    Role(Person(0.35, 0.42, 0.06, "long", 0.0, 0.7, 29), 8, 15.0, 41.0, 0.70, 1, 52, (74, 88, 150),
         ((0, "neutral"), (18, "anger"), (23, "neutral"), (25, "happiness"), (31, "sadness"), (37, "neutral"))),
)  # fmt: skip
HEARD = ((8.0, "laughter"), (20.0, "cough"), (26.0, "laughter"), (34.0, "cough"))


# ---------------------------------------------------------------- picture


def pictures(head: Head, cast: tuple[Role, ...] = CAST, times: Iterator[float] | None = None) -> Iterator[Array]:
    """Yield the frames, BGR float32 [height, width, 3] in 0 to 1."""
    players = [_Player(head, role) for role in cast]
    rng = np.random.default_rng(5)
    for time in times if times is not None else (k / FPS for k in range(SECONDS * FPS)):
        picture = _room(time)
        for player in players:
            player.draw(picture, time)
        yield np.clip(picture + rng.normal(0, 0.008, (HEIGHT, WIDTH, 1)), 0, 1).astype(np.float32)


class _Player:
    def __init__(self, head: Head, role: Role) -> None:
        self._head, self._role = head, role
        self._identity = np.random.default_rng(role.identity).normal(0, 0.6, IDENTITY).astype(np.float32)
        self._albedo = painted(head, role.who, {})
        skin = head.of("M_Face", "M_BackHead", "M_GumsTongue")
        hairy = np.clip((self._albedo / max(role.who.tone, 0.1) - 0.3) / 0.3, 0, 1)[:, None]
        self._tint = np.where(skin[:, None], hairy * SKIN + (1 - hairy) * np.array([0.8, 0.9, 1.0]), 1.0)

    def draw(self, picture: Array, time: float) -> None:
        role = self._role
        if not role.comes <= time <= role.goes + 1.5:
            return
        walk = _ease((time - role.comes) / 1.5) * _ease((role.goes + 1.5 - time) / 1.5)
        x = role.place * WIDTH + role.side * (1 - walk) * 0.75 * WIDTH
        away = max((_ease((time - a) / 0.7) * _ease((b - time) / 0.7) for a, b in role.away), default=0.0)
        yaw = np.radians(3 * np.sin(time / 1.7 + role.identity) + 38 * role.side * away)
        pitch, roll = np.radians(2 * np.sin(time / 2.3)), np.radians(2.5 * np.sin(time / 1.3 + role.identity))
        y = 0.46 * HEIGHT + 5 * np.sin(time / 1.9) + 6 * abs(np.sin(6 * time)) * (1 - walk)
        if not -role.scale < x < WIDTH + role.scale:  # nothing of the head is in the picture
            return
        points = self._head.posed(self._weights(time), self._identity)
        turned = (points - CENTRE) @ _turn(yaw, pitch, roll).T
        near = 9 / (9 - turned[:, 2])
        seen = np.stack([x + turned[:, 0] * near * role.scale, y - turned[:, 1] * near * role.scale, turned[:, 2]], 1)
        _hair(picture, x, y, role)
        self._paint(picture, seen.astype(np.float32), self._albedo * _light(self._head, turned))
        _coat(picture, x, y, role)

    def _paint(self, picture: Array, seen: Array, shade: Array) -> None:
        whole = np.zeros((HEIGHT, WIDTH), np.float32)
        layers = []
        for channel in range(3):
            layer = whole.copy()
            hit = drawn(layer, seen, np.clip(shade * self._tint[:, channel], 0, 1) ** 0.75, self._head.triangles,
                        self._head.two_sided)  # fmt: skip
            layers.append(cv2.GaussianBlur(layer, (0, 0), 0.7))
        mask = cv2.GaussianBlur(hit.astype(np.float32), (0, 0), 0.8)[..., None]
        picture[:] = picture * (1 - mask) + np.stack(layers, 2) * np.minimum(mask * 1.0, 1)

    def _weights(self, time: float) -> dict[str, float]:
        now, before = FACES[self._role.face_at(time)], FACES[self._role.face_at(time - EASE_S)]
        since = max((t for t, _ in self._role.faces if t <= time), default=0.0)
        share = _ease((time - since) / EASE_S)
        weights = {name: share * now.get(name, 0) + (1 - share) * before.get(name, 0) for name in {*now, *before}}
        blink = max(0.0, 1 - abs((time + self._role.identity) % 3.7 - 0.15) / 0.15)
        weights["eyeBlink"] = max(weights.get("eyeBlink", 0.0), blink)
        return {side: value for name, value in weights.items() for side in self._head.sides(name)}


def _ease(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def _turn(yaw: float, pitch: float, roll: float) -> Array:
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y, about_x = (
        np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]),
        np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]),
    )
    return np.asarray(np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ about_x @ about_y, np.float32)


def _light(head: Head, turned: Array) -> Array:
    """A window to the left, a lamp in front and the sky above; brightness [n] of a white surface."""
    normal = head.normals(np.asarray(turned, np.float32))
    shade = 0.42 * (1 + 0.25 * normal[:, 1])
    for lamp, strength in (((-0.6, 0.4, 0.8), 0.55), ((0.4, 0.3, 1.0), 0.4)):
        direction = np.array(lamp) / np.linalg.norm(lamp)
        shade = shade + strength * np.clip(normal @ direction.astype(np.float32), 0, 1)
    shade[head.of("M_Teeth", "M_GumsTongue")] *= 0.6
    return np.asarray(np.maximum(shade, 0.02), np.float32)


def _hair(picture: Array, x: float, y: float, role: Role) -> None:
    """Long hair behind the neck."""
    if role.who.style != "long":
        return
    layer, s = (picture * 255).astype(np.uint8), role.scale
    axes = (int(1.45 * s), int(1.95 * s))
    cv2.ellipse(layer, (int(x), int(y + 0.15 * s)), axes, 0, 0, 360, (22, 26, 34), -1, cv2.LINE_AA)
    picture[:] = cv2.GaussianBlur(layer, (0, 0), 0.6).astype(np.float32) / 255


COAT = ((2.9, 6.0), (2.7, 3.2), (2.15, 2.35), (0.95, 1.75), (0.62, 2.2), (0.3, 2.42))
"""Right half of a coat's outline, from the middle of the head on, in eye distances."""


def _coat(picture: Array, x: float, y: float, role: Role) -> None:
    layer = (picture * 255).astype(np.uint8)
    outline = np.array([*COAT, *((-across, down) for across, down in reversed(COAT))]) * role.scale + (x, y)
    shade = tuple(int(0.7 * part) for part in role.coat)
    cv2.fillPoly(layer, [outline.astype(np.int32)], role.coat, cv2.LINE_AA)
    cv2.polylines(layer, [outline[2:10].astype(np.int32)], False, shade, 4, cv2.LINE_AA)
    picture[:] = cv2.GaussianBlur(layer, (0, 0), 0.6).astype(np.float32) / 255


def _room(time: float) -> Array:
    """A wall in daylight with a window, a picture and a plant that sways."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wall = 0.62 - 0.12 * across / WIDTH - 0.10 * down / HEIGHT + 0.01 * np.sin(time / 3)
    room = (np.stack([wall * 0.96, wall * 0.98, wall], 2) * 255).astype(np.uint8)
    cv2.rectangle(room, (28, 40), (150, 230), (214, 205, 190), -1)
    cv2.rectangle(room, (28, 40), (150, 230), (240, 240, 240), 6)
    cv2.line(room, (89, 40), (89, 230), (240, 240, 240), 4)
    cv2.rectangle(room, (0, 430), (WIDTH, HEIGHT), (70, 88, 104), -1)
    cv2.rectangle(room, (500, 60), (600, 130), (96, 120, 90), -1)
    cv2.rectangle(room, (500, 60), (600, 130), (52, 62, 76), 4)
    sway = int(6 * np.sin(time / 2.1))
    leaves = np.array(
        [(600, 430), (585 + sway, 360), (604, 390), (615 + sway, 345), (612, 392), (634 + sway, 368), (616, 430)]
    )
    cv2.fillPoly(room, [leaves], (66, 120, 74), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(room, (0, 0), 1.2).astype(np.float32) / 255)


# ---------------------------------------------------------------- sound


def sound(heard: tuple[tuple[float, str], ...] = HEARD) -> npt.NDArray[np.float32]:
    """Return the film's sound, float32 [SECONDS * RATE]: room noise at -60 dBFS, and what is heard."""
    samples = np.random.default_rng(7).normal(0, 0.001, SECONDS * RATE)
    for time, label in heard:
        part = laughter(np.random.default_rng(39)) if label == "laughter" else cough(np.random.default_rng(80))
        begin = round(time * RATE)
        samples[begin : begin + len(part)] += part
    return np.clip(samples, -1, 1).astype(np.float32)


def cough(rng: np.random.Generator, times: int = 6) -> Samples:
    """A fit of coughing: each a burst of breath, a longer hiss, and the voice that closes it.

    The numbers of this and of :func:`laughter` were searched for until the burst model heard what was meant.
    """
    whole = np.zeros(round((0.5 * times + 0.9) * RATE))
    mouth = ((1001, 203, 1.4), (2337, 338, 1.0), (4673, 541, 0.44), (5000, 2500, 0.14))
    for k in range(times):
        t = np.arange(round(0.5 * RATE)) / RATE
        burst = np.exp(-t / 0.0132) + 0.26 * np.exp(-(((t - 0.0715) / 0.181) ** 2))
        breath = _level(_formed(rng.normal(0, 1, len(t)), mouth))
        voice = _level(
            _formed(_voice(t, 224 * (1 - 0.8 * t), rng), ((1085, 150, 1), (1919, 250, 0.6), (4339, 400, 0.3)))
        )
        closing = np.exp(-(((t - 0.238) / 0.0238) ** 2))
        begin = round((0.05 + 0.496 * k * rng.uniform(0.95, 1.05)) * RATE)
        whole[begin : begin + len(t)] += (burst * breath + (0.49 * closing + 0.29 * burst) * voice) * (
            1 - 0.1 * k / times
        )
    return 0.43 * _echoing(whole, 0.615)


def laughter(rng: np.random.Generator, syllables: int = 9) -> Samples:
    """Laughter: short breathy syllables, between five and six a second, that fall in pitch and fade."""
    whole = np.zeros(round((0.178 * syllables + 0.8) * RATE))
    mouth = ((532, 132, 1.0), (1300, 156, 1.0), (1723, 264, 0.29), (2318, 360, 0.15))
    for k in range(syllables):
        t = np.arange(round(0.0703 * RATE)) / RATE
        share = t / t[-1]
        pitch = 350 * (1 - 0.26 * k / syllables) * (1 - 0.267 * (share - 0.3)) * rng.uniform(0.96, 1.04)
        voice = _level(_formed(_voice(t, pitch, rng), mouth))
        air = _formed(
            rng.normal(0, 1, len(t)), ((564, 400, 1), (1002, 500, 0.8), (1880, 900, 0.61), (5000, 2000, 0.22))
        )
        voiced = np.clip((share - 0.275) / 0.25, 0, 1) * np.clip((1 - share) / 0.35, 0, 1)
        breathy = np.exp(-(((share - 0.165) / 0.2) ** 2)) + 0.055 * (1 - share)
        begin = round((0.05 + 0.178 * k * rng.uniform(0.97, 1.03)) * RATE)
        whole[begin : begin + len(t)] += (voice * voiced + 0.41 * breathy * _level(air)) * (1 - 0.35 * k / syllables)
    return 0.44 * _echoing(whole, 0.46)


def _echoing(samples: Samples, much: float) -> Samples:
    """Add the walls' first echoes, and scale to a peak of 1."""
    step, dry = round(0.013 * RATE), samples.copy()
    for k, gain in ((1, 0.3), (2, 0.2), (5, 0.12)):
        samples[step * k :] += much * gain * dry[: -step * k]
    return np.asarray(samples / np.abs(samples).max())


def _voice(t: Samples, pitch: Samples | float, rng: np.random.Generator) -> Samples:
    """Pulses of the voice, with a little jitter and breath."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(pitch, t.shape) * (1 + rng.normal(0, 0.01, len(t)))) / RATE
    pulses = sum(np.cos(k * phase) / k for k in range(1, 16))
    return np.asarray(pulses + rng.normal(0, 0.15, len(t)))


def _formed(source: Samples, formants: Formants) -> Samples:
    """Give ``source`` resonances of (Hz, width in Hz, strength), as a mouth does."""
    spectrum, at = np.fft.rfft(source), np.fft.rfftfreq(len(source), 1 / RATE)
    gain = sum(strength / np.sqrt(1 + ((at - middle) / (width / 2)) ** 2) for middle, width, strength in formants)
    return np.asarray(np.fft.irfft(spectrum * gain, len(source)))


def _level(samples: Samples) -> Samples:
    return samples / (np.sqrt(np.mean(samples**2)) + 1e-9)


# ---------------------------------------------------------------- film


def write(path: Path, frames: Iterator[Array], samples: npt.NDArray[np.float32]) -> None:
    """Encode ``frames`` and ``samples`` as H.264 and AAC."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        film = container.add_stream("libx264", rate=FPS, options={"crf": "25", "preset": "slow", "threads": "1"})
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        voice.bit_rate = 48_000
        for picture in frames:
            bgr = (picture * 255).astype(np.uint8)
            container.mux(film.encode(av.VideoFrame.from_ndarray(bgr, format="bgr24")))
        container.mux(film.encode(None))
        block = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), 0
        container.mux(voice.encode(block))
        container.mux(voice.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facekit", type=Path, required=True, help="ict_facekit.npz")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write(args.out, pictures(heads.load(args.facekit)), sound())


if __name__ == "__main__":
    main()
