"""Labelled examples for custom models: read a folder or a table of them, and check what can be checked beforehand.

A folder holds one folder for each label, in it the files, or folders of files that are sources: ``LABEL/SOURCE/FILE``.
A table is CSV with the columns ``file`` or ``text``, ``label`` and optionally ``source``; paths count from the table's
folder. A source is a speaker, a person or a recording: what is trained on one is tested on others.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_agent.capture.formats import sniff
from edge_agent.domain.errors import ConfigError, MediaError
from edge_agent.domain.files import read_text
from edge_agent.domain.text import did_you_mean

Medium = Literal["face", "sound", "words"]
Task = Literal["classification", "regression"]

LEAST = 20
"""Fewest examples of a model."""
LEAST_PER_LABEL = 5
"""Fewest examples of each label."""
MOST_LABELS = 50
IMBALANCE = 5.0
"""The most frequent label may have this many times the examples of the rarest one without a warning."""
MOST_IMBALANCE = 50.0
"""Above it, training is refused."""
_NUMBERS = 6
"""So many different labels that are all numbers are a quantity, not names."""
_TEXTS = (".txt", ".text", ".md")
_COLUMNS = frozenset({"file", "text", "label", "source"})
_MEDIA: dict[str, Medium] = {"picture": "face", "film": "face", "sound": "sound"}


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled file, or a text. ``source``: whom or what it is of; "" when unknown. ``place`` is for errors."""

    label: str
    place: str
    path: Path | None = None
    text: str = field(default="", repr=False)
    source: str = ""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples that passed the checks, what they are trained on and for, and ``warnings``, one line each."""

    examples: tuple[Example, ...]
    medium: Medium
    task: Task
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The different labels, sorted; of a regression, none."""
        return tuple(sorted({e.label for e in self.examples})) if self.task == "classification" else ()

    @property
    def groups(self) -> tuple[str, ...]:
        """The source of each example; one without is a source of its own."""
        return tuple(e.source or e.place for e in self.examples)


def read_examples(
    path: Path, *, medium: Medium | None = None, task: Task | None = None, accept_labels: bool = False
) -> ExampleSet:
    """Read and check the examples at ``path``, a folder or a table.

    ``medium``: what to train on where files hold both, such as the sound of films. ``task``: None decides by the
    labels: six or more different numbers are a regression. ``accept_labels``: labels that look like typing errors are
    meant.

    Raises:
        ConfigError: too few examples, doubtful labels, mixed media, or no such layout; says what to do.
        MediaError: a file cannot be read or is in no known format.
    """
    found = list(_folder(path) if path.is_dir() else _table(path))
    chosen = task or _task(found, path)
    if chosen == "classification" and not accept_labels:
        _refuse_typing_errors(found)  # first: copies with a mistyped label contradict each other
    found, warnings = _without_copies(found)
    kind = _medium(found, medium)
    if len(found) < LEAST:
        raise ConfigError(f"{path}: {len(found)} different examples: at least {LEAST} are needed")
    warnings += _check_labels(found) if chosen == "classification" else _check_numbers(found)
    if not any(e.source for e in found):
        warnings.append(
            "no sources: the score is for other files, perhaps of the same people; use folders LABEL/SOURCE/FILE or a "
            "column 'source'"
        )
    return ExampleSet(tuple(found), kind, chosen, tuple(warnings))


# ---------------------------------------------------------------------- reading


def _folder(folder: Path) -> Iterator[Example]:
    for label in _listed(folder):
        if not label.is_dir():
            raise ConfigError(f"{label}: files belong into a folder named after their label: {folder.name}/LABEL/FILE")
        for entry in _listed(label):
            if not entry.is_dir():
                yield Example(label.name, str(entry), entry)
                continue
            for file in _listed(entry):
                if file.is_dir():
                    raise ConfigError(f"{file}: folders are {folder.name}/LABEL/SOURCE/FILE, no deeper")
                yield Example(label.name, str(file), file, source=entry.name)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise MediaError(f"{folder}: cannot be read: {error.strerror}") from None


def _table(path: Path) -> Iterator[Example]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such folder or table") from None
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        names = [name.strip().lower() for name in rows.fieldnames or ()]
        _check_columns(path, names)
        rows.fieldnames = names
        for row in rows:
            yield _row(path, rows.line_num, row)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {rows.line_num}: no CSV: {error}") from None


def _check_columns(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in _COLUMNS:
            raise ConfigError(f"{path}: unknown column {name!r}{did_you_mean(name, _COLUMNS)}")
    if len(set(names)) < len(names) or "label" not in names or ("file" in names) == ("text" in names):
        raise ConfigError(f"{path}: the first line must name the columns: file or text, label, and perhaps source")


def _row(path: Path, line: int, row: dict[str, str | None]) -> Example:
    place = f"{path}, line {line}"
    if None in row or None in row.values():
        raise ConfigError(f"{place}: has another number of fields than the first line; put texts in quotes")
    cells = {name: (value or "").strip() for name, value in row.items()}
    for name, value in cells.items():
        if not value and name != "source":
            raise ConfigError(f"{place}: {name} is empty")
    if "text" in cells:
        return Example(cells["label"], place, None, cells["text"], cells.get("source", ""))
    return Example(cells["label"], place, path.parent / cells["file"], source=cells.get("source", ""))


def medium_of(path: Path) -> tuple[Medium, bool]:
    """What a file can be trained on, and whether it is a film, which may have sound as well.

    Raises:
        MediaError: no such file, or in no known format.
    """
    if path.suffix.lower() in _TEXTS:
        return "words", False
    try:
        with path.open("rb") as file:
            form = sniff(file)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from None
    if form is None:
        raise MediaError(f"{path}: neither a picture, a film, a sound nor a text (.txt, .md)")
    return _MEDIA[form.medium], form.medium == "film"


def _medium(examples: Iterable[Example], wanted: Medium | None) -> Medium:
    """Find the one medium of all ``examples``. Raises ConfigError when they are mixed."""
    first: tuple[Medium, Example] | None = None
    for example in examples:
        medium: Medium = "words"
        film = False
        if example.path is not None:
            medium, film = medium_of(example.path)
        if film and wanted == "sound":
            medium = "sound"
        if wanted is not None and medium != wanted:
            raise ConfigError(f"{example.place}: cannot be trained on {wanted}: it is for {medium}")
        if first is not None and medium != first[0]:
            raise ConfigError(
                f"{example.place} is for {medium}, {first[1].place} for {first[0]}: a model is trained on one of face, "
                "sound and words; films serve with --on sound, too"
            )
        first = first or (medium, example)
    if first is None:
        raise ConfigError("there are no examples")
    return first[0]


def _without_copies(examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """Keep one of examples with the same content. Raises ConfigError when their labels contradict each other."""
    kept: dict[bytes, Example] = {}
    for example in examples:
        first = kept.setdefault(_digest(example), example)
        if first.label != example.label:
            raise ConfigError(
                f"{example.place} has the same content as {first.place}, but the label {example.label!r} instead of "
                f"{first.label!r}: delete the wrong one"
            )
    copies = len(examples) - len(kept)
    return list(kept.values()), [f"{copies} copies of other examples are left out"] if copies else []


def _digest(example: Example) -> bytes:
    if example.path is None:
        return hashlib.sha256(example.text.casefold().encode("utf-8", "surrogatepass")).digest()
    try:
        with example.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise MediaError(f"{example.place}: {example.path} cannot be read: {error.strerror}") from None


# ---------------------------------------------------------------------- labels


def number(label: str) -> float | None:
    """The finite number that ``label`` writes, or None."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _task(examples: Sequence[Example], path: Path) -> Task:
    numbers = {number(example.label) for example in examples}
    whole = not path.is_dir() and None not in numbers and len(numbers) >= _NUMBERS
    return "regression" if whole else "classification"


def _check_numbers(examples: Sequence[Example]) -> list[str]:
    for example in examples:
        if number(example.label) is None:
            raise ConfigError(f"{example.place}: {example.label!r} is no number, which a regression needs")
    if len({number(example.label) for example in examples}) < 2:
        raise ConfigError(f"all labels are {examples[0].label}: there is nothing to learn")
    return []


def _check_labels(examples: Sequence[Example]) -> list[str]:
    counts = Counter(example.label for example in examples)
    if not 2 <= len(counts) <= MOST_LABELS:
        raise ConfigError(
            f"{len(counts)} different labels: 2 to {MOST_LABELS} are needed; for numbers use a regression"
        )
    most, least = counts.most_common()[0], counts.most_common()[-1]
    if least[1] < LEAST_PER_LABEL:
        raise ConfigError(f"label {least[0]!r} has {least[1]} examples: each needs at least {LEAST_PER_LABEL}")
    told = f"label {most[0]!r} has {most[1]} examples, {least[0]!r} only {least[1]}"
    if most[1] > MOST_IMBALANCE * least[1]:
        raise ConfigError(f"{told}: add some of the rare one, or leave most of the other out")
    return [f"{told}: the rare one counts more, but is known less well"] if most[1] > IMBALANCE * least[1] else []


def _refuse_typing_errors(examples: Sequence[Example]) -> None:
    """Refuse a rare label that is written almost like a frequent one, or differs only in case or spaces."""
    counts = Counter(example.label for example in examples if number(example.label) is None)
    for label, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        others = [other for other, more in counts.items() if other != label and (more, other) > (count, label)]
        alike = [other for other in others if _plain(other) == _plain(label)]
        rare = [other for other in others if counts[other] >= 4 * count]
        alike += difflib.get_close_matches(label, rare, n=1, cutoff=0.75)
        if alike:
            place = next(example.place for example in examples if example.label == label)
            raise ConfigError(
                f"{place}: label {label!r} ({count} of {len(examples)} examples); did you mean {alike[0]!r}? "
                "Correct it, or pass --accept-labels"
            )


def _plain(label: str) -> str:
    return "".join(character for character in label.casefold() if character not in " -_")
