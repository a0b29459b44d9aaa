"""GoEmotions as released (Demszky et al. 2020, CC BY 4.0): Reddit comments and the emotions that readers found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import EdgeAgentError
from edge_agent.domain.observation import LANGUAGE_EMOTIONS


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """``texts`` and float32 ``labels`` [n, 28], 1 where a reader's label is."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.float32]


def load(path: Path) -> Sentences:
    """Read a split: lines of text, label numbers with commas, and an id, separated by tabs.

    Raises:
        EdgeAgentError: there is no such file, or a line of it is something else.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeAgentError(
            f"cannot read {path}: {error}; give the folder or file of GoEmotions with --data"
        ) from error
    texts: list[str] = []
    rows: list[list[int]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            text, labels, *_ = line.split("\t")
            rows.append([int(label) for label in labels.split(",")])
            if not set(rows[-1]) <= set(range(len(LANGUAGE_EMOTIONS))):
                raise ValueError(f"labels are 0 to {len(LANGUAGE_EMOTIONS) - 1}")
        except ValueError as error:
            raise EdgeAgentError(f"{path}, line {number}: not 'text<TAB>labels<TAB>id' ({error})") from error
        texts.append(text)
    found = np.zeros((len(texts), len(LANGUAGE_EMOTIONS)), np.float32)
    for row, labels_ in enumerate(rows):
        found[row, labels_] = 1
    return Sentences(tuple(texts), found)
