"""Labelled examples: layouts that can be read, and what is refused with one line that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.custom.examples import read_examples
from edge_agent.domain.errors import EdgeAgentError


def table(folder: Path, rows: Sequence[str], head: str = "text,label,source") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def rows(*counts: tuple[str, int]) -> list[str]:
    return [f"words {k} of {label},{label},s{k % 5}" for label, count in counts for k in range(count)]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(EdgeAgentError) as error:
        read_examples(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_table_of_texts_with_sources(tmp_path: Path) -> None:
    found = read_examples(table(tmp_path, rows(("bored", 12), ("awake", 10))))
    assert (found.medium, found.task, found.labels) == ("words", "classification", ("awake", "bored"))
    assert len(set(found.groups)) == 5
    assert found.warnings == ()


def test_a_folder_of_labels_and_sources(tmp_path: Path) -> None:
    for label in ("bored", "awake"):
        for k in range(10):
            path = tmp_path / label / f"person{k % 4}" / f"{k}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{label} {k}")
    found = read_examples(tmp_path)
    assert len(found.examples) == 20
    assert set(found.groups) == {f"person{k}" for k in range(4)}


def test_without_sources_each_example_is_its_own_and_a_warning_says_so(tmp_path: Path) -> None:
    found = read_examples(table(tmp_path, [r.rpartition(",")[0] for r in rows(("a", 10), ("b", 10))], "text,label"))
    assert len(set(found.groups)) == 20
    assert "no sources" in found.warnings[0]


def test_different_numbers_are_a_regression(tmp_path: Path) -> None:
    path = table(tmp_path, [f"text {k},{k / 2},s{k % 4}" for k in range(20)])
    assert read_examples(path).task == "regression"
    assert "is no number" in refusal(table(tmp_path, rows(("a", 20))), task="regression")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (rows(("a", 9), ("b", 9)), "18 different examples: at least 20"),
        (rows(("happy", 20), ("sad", 4)), "each needs at least 5"),
        (rows(("happy", 30)), "1 different labels"),
        (rows(("happy", 30), ("sad", 20), ("hapy", 1)), "did you mean 'happy'?"),
        (rows(("happy", 20), ("sad", 20), ("HAPPY", 12)), "did you mean 'happy'?"),
        (rows(("happy", 300), ("sad", 5)), "add some of the rare one"),
        ([*rows(("happy", 20)), "words 1 of happy,sad,s1"], "has the same content as"),
        ([*rows(("happy", 20)), "too,many,fields,here"], "another number of fields"),
        ([*rows(("happy", 20)), ",sad,s1"], "text is empty"),
    ],
)
def test_doubtful_examples_are_refused(tmp_path: Path, given: list[str], expected: str) -> None:
    assert expected in refusal(table(tmp_path, given))


def test_labels_that_are_meant_are_accepted(tmp_path: Path) -> None:
    path = table(tmp_path, rows(("happy", 30), ("sad", 20), ("hapy", 6)))
    assert "--accept-labels" in refusal(path)
    assert len(read_examples(path, accept_labels=True).labels) == 3


def test_imbalance_is_a_warning(tmp_path: Path) -> None:
    found = read_examples(table(tmp_path, rows(("happy", 60), ("sad", 6))))
    assert "only 6" in found.warnings[0]


def test_copies_are_used_once(tmp_path: Path) -> None:
    given = rows(("a", 10), ("b", 10))
    found = read_examples(table(tmp_path, [*given, given[0]]))
    assert len(found.examples) == 20
    assert "1 copies" in found.warnings[0]


def test_mixed_media_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(24))
    path = table(tmp_path, ["a.txt,x", "b.wav,y"], "file,label")
    assert "a model is trained on one of face, sound and words" in refusal(path)


@pytest.mark.parametrize(
    ("head", "expected"),
    [("text,lable", "did you mean 'label'?"), ("text,source", "must name the columns"), ("", "must name the columns")],
)
def test_columns(tmp_path: Path, head: str, expected: str) -> None:
    assert expected in refusal(table(tmp_path, ["a,b"], head))


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such folder or table" in refusal(tmp_path / "missing")
    assert "no such file" in refusal(table(tmp_path, ["gone.wav,x"] * 20, "file,label")).lower()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.txt").write_text("x")
    assert "named after their label" in refusal(tmp_path / "folder")
