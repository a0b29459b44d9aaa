"""The page on reliability is made by tests: what is told, what is kept, and that it is noticed when it lags behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fault_pages import PAGES
from tests.support.fault_table import (
    Line,
    Page,
    Recorder,
    described,
    document,
    drift,
    long_rows,
    with_long_rows,
)

PAGE = Page(
    "docs/page.md", {1: "kills", 2: "cuts", 7: "disk"}, ("test_a.py", "test_b.py"), "# Page\n\nIntro.\n\n", "Long.\n"
)
EVERY = [Line(number, f"Fault {number}.", 1, 0) for number in PAGE.faults]

SOME_TESTS = '''
import pytest

@pytest.mark.parametrize("x", [1, 2])
def test_kills(x, record_property):
    """Row 1: killed
    often."""
    record_property("runs", 10 * x)
    record_property("lost", x)

def test_plain():
    """Row 2: once."""

def test_not_here():
    """Row 3: cannot be done."""
    pytest.skip("needs a compiler")

def test_of_another_page():
    """Row 33: not asked for."""
    assert False, "is not to be run"

def test_other():
    assert False, "is not to be run"
'''


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Row 1: killed\n    twice.", (1, "Killed twice.")),
        ("Row 30, offline: ``x`` | y.", (30, "Offline: `x` / y.")),
        ("Rows.", None),
        (None, None),
    ],
)
def test_the_docstring_names_the_injected_fault(docstring: str | None, expected: tuple[int, str] | None) -> None:
    assert described(docstring) == expected


def test_what_tests_report_is_added_up(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(SOME_TESTS, encoding="utf-8")
    recorder = Recorder({1, 2, 3})
    arguments = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "--rootdir",
        str(tmp_path),
        "-c",
        "/dev/null",
        str(tmp_path),
    ]
    assert pytest.main(arguments, plugins=[recorder]) == 0
    assert sorted(recorder.lines.values(), key=lambda line: line.number) == [
        Line(1, "Killed often.", 30, 3),
        Line(2, "Once.", 1, 0),
        Line(3, "Cannot be done.", skipped="needs a compiler"),
    ]
    assert recorder.failed == []


def test_choosing_tests_hides_none(tmp_path: Path) -> None:
    (tmp_path / "test_few.py").write_text(SOME_TESTS, encoding="utf-8")
    recorder = Recorder({1, 2, 3})
    arguments = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null", "-k", "plain"]
    pytest.main([*arguments, "--rootdir", str(tmp_path), str(tmp_path)], plugins=[recorder])
    assert {line.number: line.runs for line in recorder.lines.values()} == {1: None, 2: 1, 3: None}


def test_a_failure_is_no_line_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text('def test_a():\n    """Row 1: x."""\n    assert False\n', encoding="utf-8")
    recorder = Recorder({1, 2, 3})
    pytest.main(
        [
            "-q",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            "--rootdir",
            str(tmp_path),
            "-c",
            "/dev/null",
            str(tmp_path),
        ],
        plugins=[recorder],
    )
    assert recorder.failed == ["test_bad.py::test_a"]


def test_long_runs_are_kept_and_replaced_by_their_fault() -> None:
    text = document(PAGE, EVERY, "")
    text = with_long_rows(text, ["| SIGKILL | a | 10 | 0 | x |", "| power cut | b | 5 | 0 | y |"])
    text = with_long_rows(text, ["| SIGKILL | a | 1000 | 0 | z |"])
    assert long_rows(text) == ["| SIGKILL | a | 1000 | 0 | z |", "| power cut | b | 5 | 0 | y |"]
    assert document(PAGE, EVERY, text) == text


def test_figures_of_what_was_not_run_are_kept_and_never_made_up() -> None:
    text = document(PAGE, EVERY, "")
    again = [Line(1, "Fault 1.", 7, 0), *(Line(line.number, line.injected) for line in EVERY[1:])]
    assert document(PAGE, again, text) == text.replace("Fault 1. | 1 | 0", "Fault 1. | 7 | 0")
    with pytest.raises(ValueError, match="has not been run: row 2: Reworded"):
        document(PAGE, [EVERY[0], Line(2, "Reworded.")], text)


def test_drift_is_reported_and_figures_are_ignored() -> None:
    text = document(PAGE, EVERY, "")
    collected = [Line(line.number, line.injected) for line in EVERY]
    assert drift(PAGE, text, collected) == []
    skipped = [Line(1, "Fault 1.", skipped="no broker"), *EVERY[1:]]
    assert drift(PAGE, document(PAGE, skipped, ""), collected) == []
    assert drift(PAGE, text, [Line(1, "Renamed."), *collected[1:]]) == [
        "not in the table: row 1: Renamed.",
        "no such test: row 1   kills   Fault 1.",
    ]
    assert "no test names row 7 (disk)" in drift(PAGE, text, collected[:-1])
    assert drift(PAGE, text.replace("Intro.", "Other."), collected) != []
    assert drift(PAGE, text.replace("Long.", "Longer."), collected) != []


def test_a_page_holds_its_faults_from_its_files_in_their_order() -> None:
    recorder = Recorder({1, 2, 3, 7})
    recorder.lines = {
        "test_b.py::test_x": Line(1, "B."),
        "test_a.py::Test::test_y": Line(1, "A."),
        "test_c.py::test_z": Line(1, "Not of this page."),
        "test_a.py::test_w": Line(3, "Another page's."),
        "test_a.py::test_v": Line(7, "C."),
    }
    assert [line.injected for line in recorder.of(PAGE)] == ["A.", "B.", "C."]


def test_the_real_pages_name_files_that_are_there() -> None:
    for page in PAGES:
        assert len(set(page.sources)) == len(page.sources)
        assert all((Path(__file__).parents[2] / source).is_file() for source in page.sources)
