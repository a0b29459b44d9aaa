"""Bins of confidence, and the diagram of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tests.support.diagrams import points
from training import calibration


def test_bins_by_hand() -> None:
    confidence = np.array([0.05, 0.61, 0.69, 1.0, 0.95])
    right = np.array([False, True, False, True, True])
    assert calibration.bins(confidence, right) == [
        {"confidence": 0.05, "right": 0.0, "n": 1},
        {"confidence": 0.65, "right": 0.5, "n": 2},
        {"confidence": 0.975, "right": 1.0, "n": 2},
    ]


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 50_000)
    found = calibration.bins(confidence, rng.uniform(0, 1, 50_000) < confidence)
    assert len(found) == calibration.BINS
    assert all(abs(bin_["confidence"] - bin_["right"]) < 0.03 for bin_ in found)


def test_the_diagram_is_an_svg_with_its_numbers(tmp_path: Path) -> None:
    found = calibration.bins(np.array([0.31, 0.92, 0.94]), np.array([False, True, True]))
    file = tmp_path / "a.svg"
    file.write_text(calibration.diagram(found, "title"), encoding="utf-8")
    circles = ElementTree.parse(file).getroot().findall("{http://www.w3.org/2000/svg}circle")
    assert [float(circle.get("cy", "0")) for circle in circles] == [224.0, 24.0]  # never right: below; always: above
    assert float(circles[1].get("r", "0")) > float(circles[0].get("r", "0"))
    assert points(file) == [(0.31, 0.0, 1), (0.93, 1.0, 2)]
