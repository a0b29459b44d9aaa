"""A test set of voice actors: laughs, screams, gasps, groans, coughs and shouted lines of two free games.

    python -m training.burst.actors --out sets/actors
    python -m training.evaluate burst --data sets/actors

The recordings are in packages of Debian (GPL and others: never trained on, never shipped). What they are is told by the
games' own file names: a fall is a scream, a death a groan, coming up from under water a gasp. Needs Debian's tools.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath

PACKAGES = ("hedgewars-data", "openarena-data", "openarena-081-players", "openarena-085-data", "openarena-088-data")
LINES = (
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
NAMES = {
    "laughter": ("laugh.ogg",),
    "cough": ("poisoncough.ogg",),
    "scream": ("falling1.wav",),
    "gasp": ("gasp.wav",),
    "groan": ("death1.wav", "death2.wav", "death3.wav"),
    "speech": tuple(f"{line}.ogg" for line in LINES),
}
"""File names of each label, without their folders and in lower case."""
LABELS = {name: label for label, names in NAMES.items() for name in names}


def sounds(folder: Path) -> Iterator[tuple[PurePath, bytes]]:
    """Every file below ``folder`` and in the game archives there, that has one of the names."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".pk3":
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                for name in sorted(archive.namelist()):
                    if PurePath(name).name.lower() in LABELS:
                        yield PurePath(name), archive.read(name)
        elif path.name.lower() in LABELS:
            yield path.relative_to(folder), path.read_bytes()


def collect(folder: Path, out: Path) -> dict[str, int]:
    """Put each sound once below ``out``, in a folder of its label; how many of each."""
    counts = dict.fromkeys(NAMES, 0)
    seen: set[str] = set()
    for path, content in sounds(folder):
        digest = hashlib.sha256(content).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        label = LABELS[path.name.lower()]
        counts[label] += 1
        target = out / label / f"{path.parent.name}_{digest[:8]}_{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return counts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        parser.error(f"needs {' and '.join(missing)}, as on Debian")
    with tempfile.TemporaryDirectory(prefix="actors-") as work:
        subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=work, check=True)
        for package in sorted(Path(work).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), f"{work}/unpacked"], check=True)
        for label, count in collect(Path(work) / "unpacked", args.out).items():
            print(f"{label}: {count}")


if __name__ == "__main__":
    main()
