"""A test set of real English speech with its words, out of Debian's packages: prompts, readings, toys, drama.

    python -m training.speech.corpora --out sets/speech
    python -m training.evaluate speech --data sets/speech

Nothing is trained on these or shipped with them. The folder gets one sub-folder of sounds per corpus and
``transcripts.tsv`` (path, words). Needs Debian's tools and 240 MB over the network.
"""

from __future__ import annotations

import argparse
import gzip
import re
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from edge_agent.domain.errors import MediaError
from edge_agent.domain.media import AUDIO_RATE
from training.burst import recordings

TRANSCRIPTS = "transcripts.tsv"
Clips = Iterator[tuple[Path, str]]


def prompts(root: Path) -> Clips:
    """Telephone prompts of one professional speaker, wide-band (Asterisk, CC BY-SA 3.0); without tones and effects."""
    (listing,) = root.rglob("core-sounds-en.txt.gz")
    sounds = {path.stem: path for path in root.rglob("*.g722") if path.parent.name == "en_US_f_Allison"}
    for line in gzip.decompress(listing.read_bytes()).decode().splitlines():
        name, _, words = line.partition(":")
        path = sounds.get(name.strip())
        if path is not None and not line.startswith(";") and words.strip() and not re.search(r"[\[<(]", words):
            yield path, words.strip()


def stamps(root: Path) -> Clips:
    """What a picture shows, in a word or two, by several speakers at home (Tux Paint, GPL-2); they say no article."""
    for path in sorted(root.rglob("*_desc.ogg")):
        text = path.with_name(path.name.removesuffix("_desc.ogg") + ".txt")
        if text.exists():
            yield path, re.sub(r"^(an?|the) ", "", text.read_text("utf-8").splitlines()[0].strip(), flags=re.I)


def readings(root: Path) -> Clips:
    """A novel read by a volunteer (LibriVox), and playing cards (PocketSphinx's test data, BSD)."""
    for listing in sorted(root.rglob("*transcription")):
        for line in listing.read_text("utf-8").splitlines():
            if (match := re.fullmatch(r"<s>(.*)</s>\s*\((.*)\)", line.strip())) is not None:
                yield listing.parent / f"{match[2]}.wav", match[1].strip()


_EVERY = 12
_LEAST = 3
"""Every twelfth line of at least three words: a quarter of an hour."""


def drama(root: Path) -> Clips:
    """Dialogues of some twenty characters, played with feeling by several actors; MP3 at 11 kHz and 16 kbit/s.

    *Flight of the Amazon Queen*, an adventure game of 1995 that its authors give away (they keep the rights; nothing of
    it is stored here). One file has all resources behind a table; a dialogue has lines, and a line one or more sounds.
    """
    (path,) = root.rglob("queen.1c")
    data = path.read_bytes()
    (count,) = struct.unpack_from(">H", data, 13)
    entries = (struct.unpack_from(">12sBII", data, 15 + 21 * k) for k in range(count))
    files = {name.rstrip(b"\0").decode("ascii"): data[at : at + size] for name, _, at, size in entries}
    words_of = {name: words for file, found in files.items() if file.endswith(".DOG") for name, words in lines(found)}
    spoken = sorted(name for name, words in words_of.items() if name in files and len(words.split()) >= _LEAST)
    for name in spoken[::_EVERY]:
        sound = root / f"{Path(name).stem}.mp3"
        sound.write_bytes(files[name])
        yield sound, words_of[name]


def lines(dialogue: bytes) -> Iterator[tuple[str, str]]:
    """Names of the sounds of a dialogue, and what is said in each: of the hero (J) and of the other person (P)."""
    body = dialogue[20:]
    levels, _, key, heros, others = struct.unpack_from(">5h", body)
    (place,) = struct.unpack_from(">H", body, 22)
    for who, begin, count in (("J", 32 + 96 * abs(levels), heros), ("P", place, others)):
        at = begin
        for _ in range(count):
            (head,) = struct.unpack_from(">H", body, at + 2)
            length = body[at + 4]
            at += 5
            text = body[at : at + length].decode("cp437")
            at = (at + length + 3) & ~3 if length else at  # padded to a multiple of four, unless it is empty
            parts = re.split(r"\*(?:XY\d\d\(\d+,\d+\)|..)", text)  # commands to the figures divide the sounds
            for number, part in enumerate(parts, 1):
                if part.strip():
                    yield f"{key:2d}{head:4x}{who}{number:x}.SB".replace(" ", "0").upper(), part.strip()


CORPORA: dict[str, tuple[tuple[str, ...], Callable[[Path], Clips]]] = {
    "prompts": (("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722"), prompts),
    "stamps": (("tuxpaint-stamps-default",), stamps),
    "drama": (("flight-of-the-amazon-queen",), drama),
    "readings": (("pocketsphinx-testdata",), readings),
}


def unpack(packages: tuple[str, ...], root: Path) -> None:
    """Download Debian packages and unpack them below ``root``."""
    subprocess.run(["apt-get", "download", "-qq", *packages], cwd=root, check=True)
    for package in root.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)


def convert(clips: Clips, folder: Path) -> dict[str, str]:
    """Write the clips as 16 kHz WAV files; their words by file name. Silent ones and unreadable ones are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for path, words in clips:
        try:
            samples = recordings.read(path)
        except MediaError as error:
            print(f"left out: {error}")
            continue
        if len(samples) and float(np.abs(samples).max()) > 0.01:
            soundfile.write(folder / f"{path.stem}.wav", samples, AUDIO_RATE)
            found[f"{path.stem}.wav"] = words
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", type=Path, help="folder of packages unpacked before, instead of the network")
    args = parser.parse_args()
    lines = []
    for corpus, (packages, find) in CORPORA.items():
        with tempfile.TemporaryDirectory() as work:
            if args.packages is None:
                unpack(packages, Path(work))
            found = convert(find(args.packages or Path(work)), args.out / corpus)
        print(f"{corpus}: {len(found)} clips")
        lines += [f"{corpus}/{name}\t{words}\n" for name, words in sorted(found.items())]
    (args.out / TRANSCRIPTS).write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
