"""Reading the numbers out of a reliability diagram."""

from __future__ import annotations

import re
from pathlib import Path

_TITLE = re.compile(r"<title>confidence ([\d.]+), right ([\d.]+), n (\d+)</title>")


def points(path: Path) -> list[tuple[float, float, int]]:
    """Confidence, share that was right, and number of answers of each point, in the file's order."""
    found = _TITLE.findall(path.read_text(encoding="utf-8"))
    return [(float(confidence), float(right), int(n)) for confidence, right, n in found]
