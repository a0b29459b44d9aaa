"""The evaluation of speech: words, numbers, errors, and finding clips in packages."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")

from edge_agent.domain.errors import MediaError
from training.speech import corpora
from training.speech.corpora import drama, prompts, readings, stamps
from training.speech.evaluate import Tally, errors, evaluate, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Press 2, or 15; then 42!", "press two or fifteen then forty two"),
        ("It’s the user's re-recorded mail-box.", "it's the user's re recorded mail box"),
        ("Call 911 on 07", "call nine one one on zero seven"),
        ("...", ""),
    ],
)
def test_words_are_compared_as_they_are_spoken(text: str, words: str) -> None:
    assert words_of(text) == words.split()


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a c", 1),
        ("a b c", "a x b c", 1),
        ("a b c", "x y z", 3),
        ("", "a b", 2),
        ("a", "", 1),
    ],
)
def test_errors_are_the_fewest_changes(said: str, heard: str, count: int) -> None:
    assert errors(said.split(), heard.split()) == count


def test_rates_are_over_all_clips() -> None:
    tally = Tally()
    tally.add(["a", "b"], ["a"], seconds=1.0, cpu=0.1)
    tally.add(["c", "d"], [], seconds=3.0, cpu=0.1)
    report = tally.report()
    assert (report["word_errors"], report["missed_clips"], report["cpu_per_second"]) == (0.75, 1, 0.05)
    assert report["words_per_hour"] == 900


def test_clips_and_words_are_found_in_packages(tmp_path: Path) -> None:
    allison = tmp_path / "sounds" / "en_US_f_Allison"
    allison.mkdir(parents=True)
    for name in ("added", "beep", "more"):
        (allison / f"{name}.g722").touch()
    listing = "; a comment\n\nadded: Added.\nbeep: [a tone]\nabsent: Not there.\nmore: One: two.\n"
    (tmp_path / "core-sounds-en.txt.gz").write_bytes(gzip.compress(listing.encode()))
    assert [(path.stem, words) for path, words in prompts(tmp_path)] == [("added", "Added."), ("more", "One: two.")]

    (tmp_path / "yak_desc.ogg").touch()
    (tmp_path / "yak.txt").write_text("A yak.\nde.utf8=Ein Yak.\n")
    assert [words for _, words in stamps(tmp_path)] == ["yak."]

    (tmp_path / "transcription").write_text("<s> he was young </s> (sense-0870)\n")
    assert list(readings(tmp_path)) == [(tmp_path / "sense-0870.wav", "he was young")]


def packed(text: str) -> bytes:
    """A line of a dialogue: number 7, its length, and the text padded to a multiple of four behind a header of 32."""
    line = struct.pack(">hhB", 0, 7, len(text)) + text.encode()
    return line + bytes(-len(line) % 4)


def test_lines_of_a_play_are_found_beside_their_sounds(tmp_path: Path) -> None:
    mine, other = packed("Is that so, my dear?*FRThen I will go now."), packed("*15You will not go there!")
    header = struct.pack(">5h", 0, 1, 12, 1, 1) + bytes(12) + struct.pack(">H", 32 + len(mine)) + bytes(8)
    files = {
        "ANN1.DOG": bytes(20) + header + mine + other,
        "120007J1.SB": b"first",
        "120007J2.SB": b"second",
        "120007P2.SB": b"third",
    }
    at, table, data = 15 + 21 * len(files), b"", b""
    for name, content in files.items():
        table += struct.pack(">12sBII", name.encode(), 1, at + len(data), len(content))
        data += content
    (tmp_path / "queen.1c").write_bytes(b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(files)) + table + data)
    ((path, words),) = drama(tmp_path)  # the first of every twelve
    assert (path.read_bytes(), words) == (b"first", "Is that so, my dear?")
    assert set(corpora.lines(files["ANN1.DOG"])) == {
        ("120007J1.SB", "Is that so, my dear?"),
        ("120007J2.SB", "Then I will go now."),
        ("120007P2.SB", "You will not go there!"),
    }


def test_without_a_set_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"python -m training\.speech\.corpora"):
        evaluate(tmp_path)
