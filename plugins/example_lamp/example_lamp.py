"""A lamp on a GPIO pin of a Raspberry Pi that lights while somebody is there and blinks when somebody laughs.

It shows the two notification hooks. They run on the summariser's thread and return at once; the blinking is done by
gpiozero in the background. The pin comes from the environment, because a plugin that registers no analyzer, source or
sink has no table in the config.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from edge_agent.domain.event import ARRIVAL, BURST, Event
from edge_agent.domain.summary import Summary
from edge_agent.plugin import hookimpl

if TYPE_CHECKING:
    from gpiozero import LED

PIN = "LAMP_PIN"
"""Environment variable with the number of the pin, as gpiozero counts: 17 is GPIO17."""


@cache
def lamp() -> LED:
    """The lamp; made with the first event, because loading a plugin must be cheap and must not touch hardware.

    Raises:
        ValueError: the environment variable is no number.
    """
    from gpiozero import LED

    return LED(int(os.environ.get(PIN, "17")))


@hookimpl
def edge_agent_on_event(event: Event) -> None:
    """Light the lamp when somebody comes, blink three times when somebody laughs."""
    if event.kind == ARRIVAL:
        lamp().on()
    elif event.kind == BURST and event.label == "laughter":
        lamp().blink(on_time=0.2, off_time=0.2, n=3, background=True)


@hookimpl
def edge_agent_on_summary(summary: Summary) -> None:
    """Switch the lamp off after a window in which nobody was seen, or nobody could be."""
    if not summary.window.faces.most:
        lamp().off()
