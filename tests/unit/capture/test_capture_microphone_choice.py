"""Which of PortAudio's devices is meant, now and after everything was renumbered."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from edge_agent.capture.microphone import DeviceMemory, Microphone, channels_for, choose_device, stable_name
from edge_agent.domain.clock import ManualClock
from edge_agent.domain.errors import DeviceUnavailableError, MediaError


def devices(*names: str) -> list[dict[str, Any]]:
    """Inputs, except those whose name begins with ``out``."""
    return [{"name": name, "max_input_channels": 0 if name.startswith("out") else 2} for name in names]


BEFORE = devices("out HDMI", "USB PnP Sound Device: Audio (hw:1,0)", "Snowball: USB Audio (hw:2,0)", "default")
AFTER = devices("out HDMI", "Snowball: USB Audio (hw:1,0)", "USB PnP Sound Device: Audio (hw:2,0)", "default")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("auto", 3),
        ("1", 1),
        ("2", 2),
        ("snowball", 2),
        ("USB PNP", 1),
        ("Snowball: USB Audio", 2),
        ("hw:2,0", 2),
        ("USB", 1),
    ],
)
def test_choice(wanted: str, index: int) -> None:
    assert choose_device(BEFORE, wanted, default=3) == index


def test_exact_name_outranks_a_part() -> None:
    assert choose_device(devices("Mic Array", "Mic"), "mic") == 1


def test_index_survives_renumbering() -> None:
    known = stable_name(BEFORE[1]["name"])
    assert known == "USB PnP Sound Device: Audio"
    assert choose_device(AFTER, "1", known=known) == 2


def test_index_whose_device_is_gone_is_not_another_device() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"USB PnP Sound Device: Audio.* is not there"):
        choose_device(devices("out HDMI", "Snowball"), "1", known="USB PnP Sound Device: Audio")


def test_auto_without_default_takes_the_first_input() -> None:
    assert choose_device(BEFORE, "auto", default=-1) == 1
    assert choose_device(BEFORE, "auto", default=0) == 1, "an output is no microphone"


@pytest.mark.parametrize("wanted", ["auto", "1", "Snowball"])
def test_no_input_at_all(wanted: str) -> None:
    with pytest.raises(DeviceUnavailableError, match="no microphone"):
        choose_device(devices("out HDMI"), wanted, default=0)


@pytest.mark.parametrize("wanted", ["0", "17", "Yeti"])
def test_absent_device_is_refused_with_those_present(wanted: str) -> None:
    with pytest.raises(
        DeviceUnavailableError, match=f"microphone '{wanted}' is not there; present: .*'Snowball: USB Audio'"
    ):
        choose_device(BEFORE, wanted, default=3)


def test_channels() -> None:
    assert channels_for(1, None) == 1
    assert channels_for(6, None) == 6
    assert channels_for(128, None) == 2
    assert channels_for(128, 3) == 4


def test_missing_portaudio_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MediaError, match="apt install libportaudio2"):
        Microphone(ManualClock(), DeviceMemory()).open()


TWINS = devices("C-Media: USB Audio (hw:1,0)", "C-Media: USB Audio (hw:2,0)")


def test_of_two_microphones_of_one_name_the_index_is_kept() -> None:
    assert choose_device(TWINS, "1", known="C-Media: USB Audio") == 1
    assert choose_device(TWINS, "0", known="C-Media: USB Audio") == 0
    assert choose_device(TWINS, "7", known="C-Media: USB Audio") == 0  # renumbered: rather one of them than none
    assert choose_device(TWINS, "C-Media: USB Audio (hw:2,0)") == 1
