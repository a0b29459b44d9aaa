"""The FER+ protocol on votes made up to try each rule, and on the real split beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.observation import EMOTIONS
from training.emotion.dataset import CLASSES, SIDE, FerPlus, from_votes, load

UNKNOWN, NOT_A_FACE = 8, 9


def split(*votes: dict[int, int]) -> FerPlus:
    table = np.zeros((len(votes), 10), np.int64)
    for row, counts in zip(table, votes, strict=True):
        for column, count in counts.items():
            row[column] = count
    images = np.zeros((len(votes), SIDE, SIDE), np.uint8)
    images += np.arange(len(votes), dtype=np.uint8)[:, None, None]
    return from_votes(images, table)


def test_the_classes_are_the_products_in_its_order() -> None:
    assert CLASSES == EMOTIONS


def test_the_target_is_the_share_of_votes_without_single_ones() -> None:
    data = split({0: 6, 1: 2, 3: 1, UNKNOWN: 1})
    assert data.targets[0] == pytest.approx([0.75, 0.25, 0, 0, 0, 0, 0, 0])
    assert data.labels[0] == 0


def test_votes_for_unknown_count_for_the_majority_but_not_for_the_target() -> None:
    data = split({1: 5, UNKNOWN: 5}, {1: 6, UNKNOWN: 4}, {2: 4, 3: 3, UNKNOWN: 3})
    assert data.targets[:, 1] == pytest.approx([1, 1, 0])
    assert data.majority.tolist() == [False, True, False]
    assert data.labels.tolist() == [1, 1, 2]


def test_pictures_that_show_no_emotion_are_left_out() -> None:
    data = split({UNKNOWN: 10}, {NOT_A_FACE: 7, 1: 3}, dict.fromkeys(range(8), 1), {4: 10})
    assert len(data) == 1
    assert (data.images[0, 0, 0], data.labels[0]) == (3, 4)


@pytest.mark.parametrize(
    ("images", "votes"), [((2, 48, 47), (2, 10)), ((2, 48, 48), (3, 10)), ((2, 48, 48), (2, 8)), ((2, 48), (2, 10))]
)
def test_tables_that_do_not_fit_are_refused(images: tuple[int, ...], votes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected images"):
        from_votes(np.zeros(images, np.uint8), np.zeros(votes, np.int64))


def test_the_real_split_keeps_its_size(shared: Path) -> None:
    """15 and 8 fewer than the 25,060 and 3,199 in print, with the protocol as its authors' code has it."""
    for name, argmax, majority in (("train", 28_385, 25_045), ("valid", 3_555, 3_191)):
        data = load(shared / "data" / "ferplus" / f"ferplus_{name}.npz")
        assert (len(data), int(data.majority.sum())) == (argmax, majority)
        assert data.targets.sum(axis=1) == pytest.approx(1)
        assert data.images.dtype == np.uint8
        assert set(np.unique(data.labels)) == set(range(8))
