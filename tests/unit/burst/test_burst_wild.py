"""The test set out of Debian's packages, on made-up ones."""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from edge_agent_burst import LABELS, REJECTIONS
from training.burst import recordings, wild
from training.burst.recordings import RATE


def tree(files: dict[str, bytes]) -> io.BytesIO:
    """An unpacked package as dpkg-deb puts it out."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./usr/share/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def gather(package: str, files: dict[str, bytes], out: Path, known: set[str] | None = None) -> dict[str, set[bytes]]:
    """What lies where after a package was taken in."""
    wild.collect(package, wild.members(tree(files)), out, set() if known is None else known)
    found: dict[str, set[bytes]] = {}
    for path in out.rglob("*.*"):
        found.setdefault(path.parent.relative_to(out).as_posix(), set()).add(path.read_bytes())
    return found


def test_sounds_are_sorted_by_the_games_names(tmp_path: Path) -> None:
    files = {
        "Sounds/voices/Pirate/Laugh.ogg": b"ha",
        "Sounds/voices/Pirate/Hmm.ogg": b"hm",
        "Sounds/voices/Pirate/Hello.ogg": b"hello",
        "Sounds/voices/Pirate/Coward.ogg": b"coward",
        "Sounds/voices/Pirate/PoisonMoan.ogg": b"oh",
    }
    assert gather("hedgewars-data", files, tmp_path) == {
        "seen/laughter": {b"ha"},
        "seen/speech": {b"hello"},
        "blind/speech": {b"coward"},
        "blind/groan": {b"oh"},
    }


def test_game_archives_are_looked_into_and_a_sound_is_taken_once(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("sound/player/a/falling1.wav", b"aah")
        archive.writestr("sound/player/b/falling1.wav", b"aah")
        archive.writestr("sound/player/b/Death2.wav", b"ugh")
    files = {"games/pak0.pk3": stream.getvalue()}
    known: set[str] = set()
    found = gather("openarena-data", files, tmp_path / "first", known)
    assert found == {"seen/scream": {b"aah"}, "seen/groan": {b"ugh"}}
    (groan,) = (tmp_path / "first" / "seen" / "groan").iterdir()
    assert re.fullmatch(r"openarena-data_b_[0-9a-f]{8}_Death2\.wav", groan.name)
    assert gather("openarena-081-players", files, tmp_path / "second", known) == {}


def test_speech_is_sampled_without_cries_and_monsters_are_left_out(tmp_path: Path) -> None:
    lines = {f"sound/linux/nl/line{index:02}.ogg": f"{index}".encode() for index in range(10)}
    cries = {"sound/linux/nl/text15.ogg": b"ha ha ha", "sound/elevator2/nl/zd2-x-krik0.ogg": b"aaaa"}
    assert gather("fillets-ng-data-nl", cries | lines, tmp_path / "lines") == {"blind/speech": {b"0", b"5"}}
    deaths = {
        "commondata/sounds/cow_die1.wav": b"moo",
        "factions/norsemen/units/spearman/sounds/swordman_die1.wav": b"argh",
        "factions/norsemen/units/spearman_berserk/sounds/swordman_die1.wav": b"argh again",
    }
    assert gather("megaglest-data", deaths, tmp_path / "deaths") == {"blind/groan": {b"argh"}}


def test_prompts_are_for_training_and_tones_are_none(tmp_path: Path) -> None:
    prompts = {
        "asterisk/sounds/it/digits/1.g722": b"uno",
        "asterisk/sounds/it/silence/1.g722": b"",
        "it/beep.g722": b"-",
    }
    assert gather("asterisk-core-sounds-it-g722", prompts, tmp_path) == {"train/speech": {b"uno"}}


def test_what_is_for_training_has_no_music_among_the_effects_and_no_voices_of_the_test(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("audio/music/Theme.ogg", b"la")
        archive.writestr("audio/voice/latin/civ/Quid.ogg", b"quid")
        archive.writestr("audio/actor/human/death/d1.ogg", b"argh")
        archive.writestr("art/textures/d1.png", b"-")
    found = gather("0ad-data", {"games/0ad/mods/public/public.zip": stream.getvalue()}, tmp_path / "0ad")
    assert found == {"train/acted": {b"quid"}, "train/other": {b"argh"}}
    sounds = {"fantasycore/soundfx/male_die.ogg": b"ugh", "fantasycore/soundfx/enemies/zombie_hit.ogg": b"uuh"}
    assert gather("flare-game", sounds, tmp_path / "flare") == {"blind/groan": {b"ugh"}, "train/other": {b"uuh"}}


def test_the_table_names_labels_of_the_plugin_in_lower_case_patterns() -> None:
    labels = {half: {s.label for s in wild.SOURCES if s.half == half} for half in ("seen", "blind", "train")}
    assert labels["seen"] | labels["blind"] <= {*LABELS, *REJECTIONS}
    assert labels["train"] == {"speech", "acted", "background", "other"}
    for source in wild.SOURCES:
        assert all(pattern == pattern.lower() for pattern in (*source.names, *source.without))


def test_sounds_with_tags_of_another_encoding_can_be_read(tmp_path: Path) -> None:
    samples = (np.sin(np.arange(RATE) * 0.1) * 10_000).astype("<i2").tobytes()
    tag = b"INAM" + struct.pack("<I", 4) + b"\xca\xd0\xc8\xca"
    chunks = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    chunks += b"LIST" + struct.pack("<I", 4 + len(tag)) + b"INFO" + tag
    chunks += b"data" + struct.pack("<I", len(samples)) + samples
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    assert len(recordings.read(tmp_path / "a.wav")) == RATE
