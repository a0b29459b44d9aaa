"""Several looks decide who somebody is; doubt means unknown."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent_identity.deciding import (
    LOOK_EVERY_S,
    RECHECK_S,
    LookRules,
    Standing,
    look,
    reappearance,
    without_doubles,
)

RULES = LookRules(threshold=0.7, looks=3)


def after(*looks: dict[str, float], start: Standing | None = None) -> Standing:
    standing = start or Standing()
    for now, alike in enumerate(looks):
        standing = look(standing, alike, RULES, float(now))
    return standing


def test_a_name_needs_several_looks_that_agree() -> None:
    assert after({"anna": 0.9}).who is None
    assert after({"anna": 0.9}, {"anna": 0.9}).who is None
    settled = after({"anna": 0.9}, {"anna": 0.9}, {"anna": 0.6})
    assert (settled.who, settled.due) == ("anna", 2.0 + RECHECK_S)
    assert settled.score == pytest.approx(0.8)


def test_one_lucky_look_is_not_enough() -> None:
    assert after({"anna": 0.95}, {"anna": 0.4}, {"anna": 0.4}).who is None
    for more in range(8):
        assert not after({"anna": 0.95}, *[{"anna": 0.4}] * more).who


def test_two_who_look_alike_are_both_unknown() -> None:
    assert after(*[{"anna": 0.80, "twin": 0.76}] * 6).who == ""


def test_somebody_far_from_everybody_is_unknown_soon_and_looked_at_once_a_minute() -> None:
    stranger = after(*[{"anna": 0.3}] * 3)
    assert (stranger.who, stranger.due) == ("", 2.0 + RECHECK_S)
    assert after(*[{}] * 3).who == ""


def test_before_it_is_settled_a_face_is_looked_at_once_a_second() -> None:
    assert after({"anna": 0.9}).due == LOOK_EVERY_S


def test_a_settled_name_is_checked_and_given_up_when_the_face_is_another() -> None:
    settled = after(*[{"anna": 0.9}] * 3)
    assert look(settled, {"anna": 0.65}, RULES, 62.0).who == "anna"
    assert look(settled, {"anna": 0.5}, RULES, 62.0).who is None


def test_somebody_unknown_gets_another_chance() -> None:
    stranger = after(*[{"anna": 0.3}] * 3)
    assert after(*[{"anna": 0.9}] * 3, start=stranger).who == "anna"


def test_nobody_is_in_two_places() -> None:
    a = Standing(who="anna", score=0.9)
    found = without_doubles({"a": a, "b": Standing(who="anna", score=0.8), "c": Standing(who="")}, 5.0)
    assert [found[t].who for t in "abc"] == ["anna", "", ""]


def test_a_lost_face_is_found_again_unless_two_could_be_meant() -> None:
    def unit(*numbers: float) -> np.ndarray:
        vector = np.array(numbers, np.float32)
        return vector / np.linalg.norm(vector)

    face, other = unit(1, 0, 0), unit(0, 1, 0)
    track, alike = reappearance(unit(1, 0.1, 0), {"x": face, "y": other}, 0.65) or ("", 0.0)
    assert (track, round(alike, 2)) == ("x", 1.0)
    assert reappearance(unit(1, 0.1, 0), {"x": face, "z": unit(1, 0.2, 0)}, 0.65) is None
    assert reappearance(unit(0, 0, 1), {"x": face}, 0.65) is None
    assert reappearance(face, {}, 0.65) is None
