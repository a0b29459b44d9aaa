"""Colours of the dashboard and the report: contrast in both themes, and no colour but from this source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.domain.palette import DARK, GROUNDS, LIGHT, MARKS, SOUNDS, TEXT, Theme, contrast, css, sound_class

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#123456", "#123456") == 1


@THEMES
def test_text_and_marks_can_be_read_on_every_ground(theme: Theme) -> None:
    text = {(ink, ground): contrast(theme[ink], theme[ground]) for ink in TEXT for ground in GROUNDS}
    marks = {(ink, ground): contrast(theme[ink], theme[ground]) for ink in MARKS for ground in GROUNDS}
    names = {(f"sound{k}", "card"): contrast(theme[f"sound{k}"], theme["card"]) for k in range(8)}
    assert {pair: ratio for pair, ratio in (text | names).items() if ratio < 4.5} == {}
    assert {pair: ratio for pair, ratio in marks.items() if ratio < 3} == {}
    buttons = [contrast(theme["card"], theme[ground]) for ground in ("accent", "warn")]
    assert min(buttons) >= 4.5, "text on a button that is chosen"


@THEMES
def test_shades_leave_the_text_on_them_readable(theme: Theme) -> None:
    assert contrast(theme["ink"], theme["off"]) >= 4.5


def test_both_pages_take_their_colours_from_here() -> None:
    sheets = ("edge_agent/web/static/style.css", "edge_agent/cli/report.css")
    root = Path(__file__).parents[3]
    for sheet in sheets:
        rules = re.sub(r"/\*.*?\*/", "", (root / sheet).read_text(), flags=re.DOTALL)
        variables = set(re.findall(r"var\(--([a-z0-9]+)\)", rules))
        assert variables <= {*LIGHT}, sheet
        assert re.findall(r"--[a-z0-9]+:", rules) == [], f"{sheet} defines a colour of its own"
    assert set(LIGHT) == set(DARK)
    for chosen in (True, False):
        for colour in (*LIGHT.values(), *DARK.values()):
            assert colour in css(chosen=chosen)


def test_a_sound_has_the_same_colour_on_both_pages() -> None:
    plots = (Path(__file__).parents[3] / "edge_agent/web/static/plots.js").read_text(encoding="utf-8")
    (names,) = re.findall(r"const SOUNDS = \[(.*?)\]", plots)
    assert tuple(re.findall(r'"(\w+)"', names)) == SOUNDS
    assert [sound_class(label) for label in ("laughter", "groan", "doorbell")] == [
        "s-0",
        "s-7",
        f"s-{sum(map(ord, 'doorbell')) % 8}",
    ]
