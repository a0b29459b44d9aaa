"""A test set of real bursts, speech and music out of Debian's packages: games, toys and telephone prompts.

    python -m training.burst.wild --out sets/wild
    python -m training.evaluate burst --data sets/wild/seen
    python -m training.evaluate burst --data sets/wild/blind

Nothing is trained on these or shipped with them. A third part, ``train``, is under CC BY and CC BY-SA: read and acted
speech for :mod:`training.burst.talk`, music and other sounds for :mod:`training.burst.tracks`. What a sound is, is told
by its name and its place in the game: a person's fall is a scream, a person's pain or death a groan, coming up from
under water a gasp; monsters, robots and animals are left out. ``seen`` may be looked at when choosing what to train and
to ship; ``blind`` is for judging afterwards, and no choice may be made by it. Needs Debian's tools, 5 GB over the
network and, for a while, as many on disk.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import IO, Literal

from training.burst import recordings

Half = Literal["seen", "blind", "train", "test"]


@dataclass(frozen=True, slots=True)
class Source:
    """Sounds of one label in a package: ``names`` and ``without`` are patterns of the ends of paths, in lower case."""

    half: Half
    label: str
    package: str
    names: tuple[str, ...]
    without: tuple[str, ...] = ()
    every: int = 1
    """Of the sorted names, each such one is taken."""


OPENARENA = ("openarena-data", "openarena-081-players")
SHOUTS = (
    "hello",
    "victory",
    "reinforcements",
    "watchit",
    "takecover",
    "byebye",
    "illgetyou",
    "incoming",
    "traitor",
    "youllregretthat",
)
MORE_SHOUTS = (
    "amazing",
    "boring",
    "brilliant",
    "comeonthen",
    "coward",
    "cutitout",
    "enemydown",
    "excellent",
    "firstblood",
    "flawless",
    "gonnagetyou",
    "hurry",
    "justyouwait",
    "leavemealone",
    "runaway",
    "sameteam",
    "stupid",
    "yessir",
)
FISH_BURSTS = ("krik?.ogg", "text15.ogg", "dr-8-aaa.ogg", "checheche.ogg", "sp-m-potize.ogg", "au?.ogg", "hurt-?.ogg")
"""Lines of Fish Fillets that are, or end in, a cry or a laugh; by the game's own transcripts."""
NO_PROMPTS = ("/silence/*", "tone.g722", "/beep*.g722", "/tt-monkeys.g722")
NOT_TAKEN = (
    *(f"/{name}.ogg" for name in ("anvil", "ball_bounce", "bowling_shoot", "bzzt", "shoot", "ugh", "wee")),
    "/energy_bar_unfull.ogg",
)
"""Of SuperTuxKart: under the GPL, and one that cannot be read."""
NO_PERSONS = (
    "ab", "airship", "behemoth", "bull", "carpet", "catapult", "chicken", "cow", "daemon", "dr", "dragon", "eagle",
    "evil_dragon", "genie", "ghost_armor", "golem", "horseman", "machine", "mummy", "orni", "pig", "sheep", "warrior",
)  # fmt: skip
"""Of MegaGlest: animals, machines and spirits, and who may be one of them by the name of the file."""

SUFFIXES = tuple(sorted(recordings.SUFFIXES))
BURSTS = ("*augh*", "*cough*", "*sneeze*", "*scream*", "*cry*", "*groan*", "*sigh*")
"""Names of what may be a burst."""

SOURCES = (
    # GFDL-1.3 and GPL-2+: what the project called its voice actors before
    Source("seen", "laughter", "hedgewars-data", ("/laugh.ogg",)),
    Source("seen", "cough", "hedgewars-data", ("/poisoncough.ogg",)),
    Source("seen", "speech", "hedgewars-data", tuple(f"/{line}.ogg" for line in SHOUTS)),
    *(Source("seen", "scream", package, ("/falling1.wav",)) for package in OPENARENA),
    *(Source("seen", "gasp", package, ("/gasp.wav",)) for package in OPENARENA),
    *(Source("seen", "groan", package, ("/death[123].wav",)) for package in OPENARENA),
    # GPL-2: two actors a language, and their guests
    Source("seen", "speech", "fillets-ng-data-cs", ("/cs/*.ogg",), FISH_BURSTS, every=5),
    Source("blind", "speech", "fillets-ng-data-nl", ("/nl/*.ogg",), FISH_BURSTS, every=5),
    # GFDL-1.3: other lines, of the voices that are in the other half too
    Source("blind", "groan", "hedgewars-data", ("/poisonmoan.ogg",)),
    Source("blind", "speech", "hedgewars-data", tuple(f"/{line}.ogg" for line in MORE_SHOUTS)),
    # CC-BY-SA-3.0
    Source("blind", "laughter", "scratch", ("/human/laugh-*",)),
    Source("blind", "crying", "scratch", ("/human/babycry.mp3",)),
    Source("blind", "scream", "scratch", ("/human/scream-*",)),
    Source("blind", "cough", "scratch", ("/human/cough-*",)),
    Source("blind", "sneeze", "scratch", ("/human/sneeze-*",)),
    # GPL-2 with an exception
    Source("blind", "laughter", "btanks-data", ("/laugh0?.ogg",)),
    Source("blind", "scream", "btanks-data", ("/kamikaze-scream.ogg",)),
    Source("blind", "groan", "btanks-data", ("/deadman?.ogg",)),
    # GPL-2
    Source("blind", "laughter", "wesnoth-1.16-data", ("/dwarf-laugh.wav", "/witches-laugh.wav")),
    Source("blind", "groan", "wesnoth-1.16-data", ("/groan.wav", "/human-*hit-?.ogg", "/human-*die-?.ogg")),
    # GPL-2+
    Source("blind", "laughter", "trackballs-data", ("/crazylaugh.wav", "/evillaugh.wav")),
    Source("blind", "laughter", "crossfire-client", ("/evil_laugh.wav",)),
    Source("blind", "laughter", "tuxpaint-data", ("/giggle.wav",)),
    Source("blind", "laughter", "mirrormagic-data", ("/lachen.wav",)),
    Source("blind", "laughter", "xemacs21-basesupport", ("/etc/sounds/laugh.au",)),
    Source("blind", "crying", "xemacs21-basesupport", ("/etc/sounds/cry.wav",)),
    Source("blind", "scream", "netpanzer-data", ("/scream_*.wav",)),
    Source("blind", "scream", "hannah-data", ("/scream.wav",)),
    Source("blind", "groan", "hyperrogue-music", ("/die-prince*.ogg", "/hit-prince*.ogg")),
    Source(
        "blind",
        "groan",
        "boswars-data",
        tuple(f"/{unit}_die.wav" for unit in ("assault", "bazoo", "engineer", "grenadier", "medic")),
    ),
    # CC-BY-SA-3.0, zlib or GPL-3+, GPL-3+
    Source("blind", "scream", "scorched3d-data", ("/apoc/data/wav/misc/scream*.wav",)),
    Source("blind", "scream", "wordwarvi-sound", ("/fallingscreamhi.ogg",)),
    Source("blind", "scream", "freedink-data", ("/wscream.wav",)),
    Source("blind", "groan", "caveexpress-data", ("/player-pain?.ogg",)),
    # CC-BY-SA-3.0; the last one public domain
    Source("blind", "groan", "ardentryst", ("/nyx_pain*.ogg", "/pyr_pain*.ogg")),
    Source("blind", "speech", "ardentryst", ("/voi_intro_?.ogg",)),
    Source("blind", "groan", "flare-game", ("/male_die.ogg", "/male_hit.ogg", "/female_die.ogg", "/female_hit.ogg")),
    Source("blind", "speech", "flare-game", ("/*_merchant_??.ogg",)),
    Source(
        "blind",
        "groan",
        "megaglest-data",
        ("_die?.wav",),
        ("_berserk/sounds/*", *(f"/{unit}_die?.wav" for unit in NO_PERSONS)),
    ),
    Source("blind", "groan", "cube2-data", ("/aard/pain?.wav", "/aard/die?.wav")),
    # CC-BY-SA-3.0 and CC-BY-3.0: words, numbers and sentences by one speaker a language
    *(
        Source("train", "speech", f"asterisk-core-sounds-{language}-g722", (".g722",), NO_PROMPTS)
        for language in ("en", "es", "fr", "it", "ru")
    ),
    # CC-BY-SA-3.0 and CC-BY-3.0, few in the public domain: music
    Source("train", "background", "flare-game", ("/music/*.ogg",)),
    Source("train", "background", "hyperrogue-music", ("/hr3-*.ogg", "/hr-domina-*.ogg")),
    Source("train", "background", "supertuxkart-data", ("/data/music/*.ogg",)),
    Source("train", "background", "unknown-horizons", ("/music/*.ogg", "/music/*/*.ogg")),
    # CC-BY-SA-3.0: actors of four ancient languages; everything else but music, without labels
    Source("train", "acted", "0ad-data", ("/audio/voice/*/civ/*.ogg",)),
    Source("train", "other", "0ad-data", ("/audio/*.ogg",), ("/audio/music/*", "/audio/voice/*/civ/*")),
    # CC-BY-SA-3.0, CC-BY-3.0, CC0-1.0
    Source("train", "other", "flare-game", ("/soundfx/*.ogg",), ("/npcs/*", "male_die.ogg", "male_hit.ogg")),
    Source("train", "other", "supertuxkart-data", ("/data/sfx/*.ogg", "/data/sfx/*.wav"), NOT_TAKEN),
    Source("train", "other", "unknown-horizons", ("/audio/sounds/*.ogg",)),
    # CC-BY-SA, GPL and public domain: music and effects, as background
    *(
        Source("train", "background", package, SUFFIXES, BURSTS)
        for package in ("supertux-data", "colobot-common-sounds", "lincity-ng-data", "pingus-data")
    ),
    Source("train", "background", "tuxpaint-stamps-default", SUFFIXES, ("_desc_*", *BURSTS)),
    # CC0, CC-BY-SA, GPL: effects for hours without a burst (training.burst.hours)
    *(
        Source("test", "effects", package, SUFFIXES, BURSTS)
        for package in ("sonic-pi-samples", "lomiri-sounds", "oxygen-sounds", "freedroidrpg-data", "minetest-data")
    ),
    # GPL-2 and others: music; CC-BY-SA-3.0 and GPL-3
    Source("seen", "background", "wesnoth-1.16-music", (".ogg",), every=4),
    Source("seen", "background", "widelands-data", ("/music/*.ogg",), every=4),
    Source("blind", "background", "drascula-music", (".ogg",), every=4),
    Source("blind", "background", "naev-data", ("/snd/music/*.ogg", "/snd/music/*/*.ogg"), every=4),
    # GPL-2 and GPL-2+: words, letters and calls of a game in many languages; the Czech syllables cannot be read
    Source("blind", "speech", "tuxpaint-stamps-default", ("_desc_*.ogg",), every=60),
    Source("blind", "speech", "ktuberling-data", (".ogg", ".wav", ".opus"), ("-laugh.*",), every=20),
    Source("blind", "speech", "klettres-data", (".ogg",), ("/cs/syllab/*",), every=20),
    Source("blind", "speech", "kajongg", (".ogg",), every=2),
)
"""With the licences of the sounds, as the packages' copyright files have them."""


def members(package: IO[bytes]) -> Iterator[tuple[PurePath, bytes]]:
    """The sounds in an unpacked package (a tar stream) and in game archives of it."""
    with tarfile.open(fileobj=package, mode="r|") as tree:
        for member in tree:
            content = tree.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            path = PurePath("/", member.name)
            if path.suffix in {".pk3", ".zip"}:
                # Such an archive may have gigabytes: more than memory.
                with tempfile.TemporaryFile() as whole:
                    shutil.copyfileobj(content, whole)
                    archive = zipfile.ZipFile(whole)
                    yield from ((path / name, archive.read(name)) for name in archive.namelist() if sounds(name))
            elif sounds(path):
                yield path, content.read()


def sounds(path: str | PurePath) -> bool:
    """Whether it is a sound file by its name."""
    return PurePath(path).suffix.lower() in recordings.SUFFIXES


def matches(path: PurePath, patterns: Iterable[str]) -> bool:
    """Whether the path ends as one of the patterns says."""
    name = path.as_posix().lower()
    return any(fnmatchcase(name, f"*{pattern}") for pattern in patterns)


def collect(package: str, files: Iterable[tuple[PurePath, bytes]], out: Path, known: set[str]) -> Counter[Source]:
    """Put the package's sounds below ``out``, in folders of the half and the label, but none that is ``known``."""
    sources = [source for source in SOURCES if source.package == package]
    wanted = tuple(pattern for source in sources for pattern in source.names)
    found = sorted((path, content) for path, content in files if matches(path, wanted))
    counts: Counter[Source] = Counter()
    for source in sources:
        mine = [f for f in found if matches(f[0], source.names) and not matches(f[0], source.without)]
        for path, content in mine[:: source.every]:
            digest = hashlib.sha256(content).hexdigest()
            if digest in known:
                continue
            known.add(digest)
            counts[source] += 1
            target = out / source.half / source.label / f"{package}_{path.parent.name}_{digest[:8]}_{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return counts


def unpacked(package: Path) -> Iterator[tuple[PurePath, bytes]]:
    """The files of a Debian package."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        yield from members(tar.stdout)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        parser.error(f"needs {' and '.join(missing)}, as on Debian")
    known: set[str] = set()
    for package in dict.fromkeys(source.package for source in SOURCES):
        with tempfile.TemporaryDirectory(prefix="wild-") as work:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True)
            (archive,) = Path(work).glob("*.deb")
            for source, count in collect(package, unpacked(archive), args.out, known).items():
                print(f"{source.half} {source.label}: {count} of {package}")


if __name__ == "__main__":
    main()
