"""The contract suite finds what it is there to find: each rule broken by one analyzer, caught by one check."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ConfigDict, Field

from edge_agent.domain.errors import ModelError
from edge_agent.domain.event import Event
from edge_agent.domain.face import Box, Face
from edge_agent.domain.media import AudioBlock, Frame
from edge_agent.domain.observation import Observation
from edge_agent.domain.speech import Utterance
from edge_agent.plugin.spec import (
    AnalyzerContext,
    AnalyzerSettings,
    AnalyzerSpec,
    AudioAnalyzer,
    FaceAnalyzer,
    FaceDetector,
    Kind,
    SceneAnalyzer,
    SpeechAnalyzer,
    TextAnalyzer,
)
from edge_agent.plugin.testing import CHECKS, ContractError, Subject, check_analyzer
from edge_agent.plugin.testing.harness import watched

RULES = {check.__name__.removeprefix("check_"): check for check in CHECKS}

MODULE = """
from edge_agent.plugin import AnalyzerSpec, Kind, hookimpl
{extra}

@hookimpl
def edge_agent_register_analyzers():
    return [AnalyzerSpec("acme", Kind.SCENE, "nothing", factory=lambda settings, context: None)]
"""


class NoModels:
    def locate(self, name: str) -> Path:
        raise ModelError(f"{name} is not installed")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.syspath_prepend(tmp_path)

    def install(extra: str) -> None:
        (tmp_path / "acme_contract.py").write_text(MODULE.format(extra=extra))

    install("")
    return install


def subject(make: Callable[[], object], kind: Kind = Kind.SCENE, **changes: object) -> Subject:
    spec = AnalyzerSpec("acme", kind, "nothing", factory=lambda settings, context: make())  # type: ignore[arg-type,return-value]
    return Subject("acme_contract", replace(spec, **changes), AnalyzerContext(NoModels()))  # type: ignore[arg-type]


class Good(SceneAnalyzer):
    def analyze(self, frame: Frame):
        return [Observation("light", {"level": float(frame.data.mean())}, frame.time)]


class GoodDetector(FaceDetector):
    def detect(self, frame: Frame):
        return [Face(Box(0.0, 0.0, 0.5, 0.5), 0.9), Face(Box(0.5, 0.0, 0.5, 0.5), 0.4)]


class GoodFaces(FaceAnalyzer):
    def analyze(self, frame: Frame, faces):
        return [Observation("size", {"width": tracked.face.box.w}, frame.time, tracked.track) for tracked in faces]


class GoodEar(AudioAnalyzer):
    def analyze(self, block: AudioBlock):
        if len(block.samples) == 0:
            return []
        level = Observation("level", {"peak": float(np.abs(block.samples).max())}, block.time)
        return [level, Event("burst", "clap", 0.5, block.time, block.seconds)]


class GoodListener(SpeechAnalyzer):
    """Takes everything between two gaps for one utterance."""

    def __init__(self) -> None:
        self.open: list[AudioBlock] = []

    def analyze(self, block: AudioBlock):
        said = self.finish() if block.gap else ()
        self.open.append(block)
        return said

    def finish(self):
        blocks, self.open = self.open, []
        return [Utterance("so", blocks[0].time, blocks[-1].end, 0.5)] if blocks else []


class GoodReader(TextAnalyzer):
    def analyze(self, utterance: Utterance):
        return [Observation("length", {"letters": float(len(utterance.text))}, utterance.start)]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (GoodListener, Kind.SPEECH),
        (GoodReader, Kind.TEXT),
        (Good, Kind.SCENE),
        (GoodDetector, Kind.DETECTOR),
        (GoodFaces, Kind.FACE),
        (GoodEar, Kind.AUDIO),
    ],
)
def test_a_good_analyzer_of_every_kind_passes(install, make: Callable[[], object], kind: Kind) -> None:
    check_analyzer(subject(make, kind))


def broken(rule: str, message: str, guilty: Subject) -> None:
    """The check of the rule finds it."""
    with pytest.raises((ContractError, ValueError, TypeError, RuntimeError), match=message):
        RULES[rule](guilty)


# ---------------------------------------------------------------- settings and spec


class Loose(AnalyzerSettings):
    model_config = ConfigDict(extra="ignore")


class Thawed(AnalyzerSettings):
    model_config = ConfigDict(frozen=False)


class Silent(AnalyzerSettings):
    level: int = 3


class Demanding(AnalyzerSettings):
    level: int = Field(description="How much.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Loose, "needs extra='forbid'"),
        (Thawed, "needs frozen=True"),
        (Silent, "level need Field"),
        (Demanding, "level need a default"),
        (dict, "no subclass of AnalyzerSettings"),
    ],
)
def test_careless_settings_are_found(install, settings: type, message: str) -> None:
    broken("settings", message, subject(Good, settings=settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "My Lamp"}, "use lower-case letters"),
        ({"summary": ""}, "summary must be one line"),
        ({"summary": "a\nb"}, "summary must be one line"),
        ({"max_fps": 0.0}, "max_fps is 0"),
        ({"models": lambda settings: "yamnet"}, "not a sequence of names"),
        ({"models": lambda settings: [3]}, "not a sequence of names"),
    ],
)
def test_a_careless_spec_is_found(install, changes: dict[str, object], message: str) -> None:
    broken("spec", message, subject(Good, **changes))


@pytest.mark.parametrize(
    ("extra", "message"), [("import cv2", "imports cv2: do it in the factory"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_heavy_or_broken_import_is_found(install, extra: str, message: str) -> None:
    install(extra)
    broken("cheap_import", message, subject(Good))


# ---------------------------------------------------------------- answers


class FailsCheck(Good):
    def self_check(self) -> None:
        raise RuntimeError("no light")


def test_a_failing_self_check_is_found(install) -> None:
    broken("self_check", "no light", subject(FailsCheck))


def scene(answer: Callable[[Frame], object]) -> Callable[[], object]:
    class Scene(SceneAnalyzer):
        def analyze(self, frame: Frame):
            return answer(frame)

    return Scene


def spoil(frame: Frame) -> list[Observation]:
    frame.data[:] = 7
    return []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda frame: None, "returned NoneType"),
        (lambda frame: [3], "returned a int"),
        (lambda frame: [Observation("light", {"level": float("nan")}, frame.time)], "not finite"),
        (lambda frame: [Observation("light", {"level": 1.0}, frame.time + 60)], "after its input"),
        (lambda frame: [Observation("light", {"level": 1.0}, frame.time, "nobody")], "who was not given"),
        (spoil, "changed its input"),
        (lambda frame: frame.data[3, 3] and [], "out of bounds"),
    ],
)
def test_a_wrong_answer_is_found(install, answer: Callable[[Frame], object], message: str) -> None:
    with pytest.raises((ContractError, ValueError, TypeError, IndexError), match=message):
        RULES["answers"](subject(scene(answer)))


def test_faces_in_the_wrong_order_are_found(install) -> None:
    class Unsorted(GoodDetector):
        def detect(self, frame: Frame):
            return super().detect(frame)[::-1]

    broken("answers", "most certain first", subject(Unsorted, Kind.DETECTOR))


@pytest.mark.parametrize("late", [5.0, float("inf")])
def test_an_event_from_the_future_is_found(install, late: float) -> None:
    class Early(GoodEar):
        def analyze(self, block: AudioBlock):
            return [Event("burst", "clap", 0.5, block.end + late, 0.1)]

    broken("answers", "after its input|not finite", subject(Early, Kind.AUDIO))


def test_an_ear_that_cannot_do_with_nothing_is_found(install) -> None:
    class Deaf(GoodEar):
        def analyze(self, block: AudioBlock):
            return [Observation("level", {"peak": float(block.samples.max())}, block.time)]

    broken("answers", "zero-size array", subject(Deaf, Kind.AUDIO))


def test_what_finish_gives_is_checked_too(install) -> None:
    class Sloppy(GoodEar):
        def finish(self):
            return None

    broken("answers", "returned NoneType", subject(Sloppy, Kind.AUDIO))


def test_shared_state_is_found(install) -> None:
    seen: list[int] = []

    def count(frame: Frame) -> list[Observation]:
        seen.append(1)
        return [Observation("light", {"count": len(seen)}, frame.time)]

    broken("determinism", "differs between two analyzers", subject(scene(count)))


# ---------------------------------------------------------------- manners


def starts_thread(frame: Frame) -> None:
    threading.Thread(target=int, name="helper").start()


def sleeps(frame: Frame) -> None:
    time.sleep(0.001)


def connects(frame: Frame) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 9))


def runs_program(frame: Frame) -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        (starts_thread, r"starts a thread \(helper\)"),
        (sleeps, r"sleeps for 0\.001 s"),
        (connects, "uses the network"),
    ],
)
def test_bad_manners_are_found(install, deed: Callable[[Frame], None], message: str) -> None:
    broken("manners", message, subject(scene(lambda frame: deed(frame) or [])))


def test_bad_manners_in_the_making_are_found(install) -> None:
    def make() -> object:
        runs_program(Frame.from_bgr(np.zeros((1, 1, 3), np.uint8), 0.0, 0))
        return Good()

    broken("manners", "starts another program", subject(make))


def test_a_picture_written_to_disk_is_found(install, tmp_path: Path) -> None:
    file = tmp_path / "face.raw"

    def keep(frame: Frame) -> list[Observation]:
        file.write_bytes(frame.data.tobytes())
        return []

    broken("manners", r"writes the file .*face\.raw", subject(scene(keep)))


def test_reading_a_file_is_good_manners(install, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a")

    def read(frame: Frame) -> list[Observation]:
        (tmp_path / "labels.txt").read_text()
        return []

    RULES["manners"](subject(scene(read)))


def test_what_others_do_meanwhile_is_not_blamed_on_the_analyzer(install, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            (tmp_path / "other").write_text("x")

    other = threading.Thread(target=write)
    other.start()
    try:
        RULES["manners"](subject(Good))
    finally:
        stop.set()
        other.join(30)


def test_the_whole_suite_ends_at_the_first_broken_rule(install) -> None:
    with pytest.raises(ContractError, match="sleeps for"):
        check_analyzer(subject(scene(lambda frame: sleeps(frame) or [])))


def test_slow_answers_are_found(install) -> None:
    guilty = subject(scene(lambda frame: time.sleep(0.03) or []))
    broken("speed", r"an answer takes 0\.\d\d s, more than 0\.01 s", replace(guilty, patience=0.01))


def test_a_close_that_works_only_once_is_found(install) -> None:
    class Once(Good):
        closed = False

        def close(self) -> None:
            if self.closed:
                raise RuntimeError("already closed")
            self.closed = True

    broken("close", "already closed", subject(Once))


def test_what_hangs_fails_its_check_by_the_deadline(install) -> None:
    class Hangs(SceneAnalyzer):
        def analyze(self, frame: Frame) -> list[Observation]:
            threading.Event().wait(30)
            return []

    spec = AnalyzerSpec("acme", Kind.SCENE, "hangs", factory=lambda settings, context: Hangs())
    subject = Subject("acme_contract", spec, AnalyzerContext(NoModels()), deadline=0.5)
    began = time.monotonic()
    with pytest.raises(ContractError, match=r"check_answers is not over after 0\.5 s"):
        RULES["answers"](subject)
    assert time.monotonic() - began < 20


# ---------------------------------------------------------------- speech and text


class Prophet(GoodListener):
    def finish(self):
        return [Utterance("so", said.start, said.end + 9.0) for said in super().finish()]


class Jumbled(GoodListener):
    def finish(self):
        return [later for said in super().finish() for later in (Utterance("so", said.end, said.end), said)]


class NeverDone(GoodListener):
    def finish(self):
        return [Utterance("so", self.open[0].time, self.open[-1].end)] if self.open else []


class Quoting(TextAnalyzer):
    def analyze(self, utterance: Utterance):
        words = {word.strip(".,").lower(): 1.0 for word in utterance.text.split() if word.strip(".,").isalpha()}
        return [Observation("said", {w: v for w, v in words.items() if w.isascii()}, utterance.start)]


class Printing(GoodReader):
    def analyze(self, utterance: Utterance):
        sys.stderr.write(utterance.text.encode("ascii", "replace").decode())
        return super().analyze(utterance)


class Logging(GoodReader):
    def analyze(self, utterance: Utterance):
        logging.getLogger("acme").debug("judging %r", utterance.text)
        return super().analyze(utterance)


class Ascii(GoodReader):
    def analyze(self, utterance: Utterance):
        utterance.text.encode("ascii")
        return super().analyze(utterance)


@pytest.mark.parametrize(
    ("rule", "message", "make", "kind"),
    [
        ("answers", "after its input", Prophet, Kind.SPEECH),
        ("answers", "order in which they began", Jumbled, Kind.SPEECH),
        ("finish", "second finish", NeverDone, Kind.SPEECH),
        ("discretion", "names hold words", Quoting, Kind.TEXT),
        ("discretion", "printed or logged", Printing, Kind.TEXT),
        ("discretion", "printed or logged", Logging, Kind.TEXT),
        ("answers", "codec", Ascii, Kind.TEXT),
    ],
)
def test_broken_rules_of_words_are_found(
    install, rule: str, message: str, make: Callable[[], object], kind: Kind
) -> None:
    broken(rule, message, subject(make, kind))


def test_what_other_threads_do_meanwhile_is_not_held_against_an_analyzer() -> None:
    begin, end = threading.Event(), threading.Event()

    def other() -> None:
        begin.wait(10)
        time.sleep(0.001)
        end.set()

    thread = threading.Thread(target=other)
    thread.start()
    with watched() as deeds:
        begin.set()
        assert end.wait(10)
        time.sleep(0)
    thread.join()
    assert deeds == ["sleeps for 0 s"]
