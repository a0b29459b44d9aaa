"""The doctor uses every library through its owner module, and says which one does not work."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from edge_agent.delivery.outbox import Outbox
from edge_agent.doctor import parts
from edge_agent.doctor.result import CheckStatus
from edge_agent.domain.errors import ModelError


def test_everything_is_used_and_works_here() -> None:
    (result,) = parts.check_parts()
    assert result.status is CheckStatus.OK, result.detail
    for name in ("picture", "film", "sound", "interpreter", "database", "MQTT"):
        assert name in result.detail


def failures() -> list[str]:
    return [result.detail for result in parts.check_parts() if result.status is CheckStatus.FAIL]


def test_a_library_that_lost_an_argument_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV 19 had dropped one, and every file and network camera failed while the versions looked right."""
    monkeypatch.setattr("edge_agent.capture.media.LENIENT", {"gone_in_the_next_major": 1})
    found = failures()
    assert {line.partition(" ")[0] for line in found} == {"picture", "film", "sound"}
    assert all("TypeError" in line for line in found)


def test_a_decoder_that_answers_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = cv2.imwrite
    monkeypatch.setattr(cv2, "imwrite", lambda path, image: write(path, 255 - image))
    (line,) = failures()
    assert line.startswith("picture")
    assert "differs" in line


def test_no_interpreter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_path: Path) -> None:
        raise ModelError("no TFLite runtime works here")

    monkeypatch.setattr(parts, "TfliteModel", none)
    assert failures() == ["interpreter (TFLite): ModelError: no TFLite runtime works here"]


def test_a_database_that_falls_back_to_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Outbox) -> None:
        self._degrade(OSError(28, "No space left on device"))

    monkeypatch.setattr(Outbox, "open", refuse)
    assert [line.partition(" ")[0] for line in failures()] == ["database"]


def test_a_peer_that_refuses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ACCEPTED", b"\x20\x03\x00\x88\x00")
    monkeypatch.setattr(parts, "MQTT_S", 2.0)
    assert [line.partition(" ")[0] for line in failures()] == ["MQTT"]
