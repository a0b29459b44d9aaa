"""Colours of everything that is drawn, the dashboard and the HTML report alike, in a light and a dark theme.

Text has a contrast of at least 4.5 against every ground it stands on, and marks of plots at least 3 (WCAG 2.1, 1.4.3
and 1.4.11); a test computes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_agent.domain.observation import EMOTIONS

Theme = Mapping[str, str]
"""Colours as ``#rrggbb`` by name."""

GROUNDS = ("bg", "card", "track")
"""What text and marks stand on."""

TEXT = ("ink", "soft", "accent", "good", "warn", "bad")
MARKS = (*EMOTIONS, "people", "attention", "valence", *(f"sound{k}" for k in range(8)))
"""Marks of plots: expressions, other figures, and eight kinds of sound."""

SOUNDS = ("laughter", "crying", "cough", "sneeze", "sigh", "scream", "gasp", "groan")
"""Labels with a colour of their own, in the order of the colours; ``plots.js`` has the same list."""

LIGHT: Theme = MappingProxyType(
    {
        "bg": "#f3f5f8", "card": "#ffffff", "track": "#edf1f5", "off": "#dde3ea", "line": "#d3dae3",
        "ink": "#17202c", "soft": "#4b5768", "accent": "#1f56b8",
        "good": "#14663a", "warn": "#8a4b00", "bad": "#a8231c",
        "neutral": "#74808f", "happiness": "#a97b00", "surprise": "#cc5414", "sadness": "#2f6bb8", "anger": "#c22f2f",
        "disgust": "#53801f", "fear": "#7748b8", "contempt": "#9c4676",
        "people": "#1f56b8", "attention": "#14763f", "valence": "#8a5a17",
        "sound0": "#b04a00", "sound1": "#2f6bb8", "sound2": "#14763f", "sound3": "#8d3fa8", "sound4": "#9a6a00",
        "sound5": "#b8285f", "sound6": "#0b7a80", "sound7": "#5d6470",
    }
)  # fmt: skip

DARK: Theme = MappingProxyType(
    {
        "bg": "#0f141b", "card": "#182029", "track": "#212b36", "off": "#2c3845", "line": "#303c49",
        "ink": "#e8edf3", "soft": "#aab6c4", "accent": "#8ab4ff",
        "good": "#6bd39d", "warn": "#f0b35a", "bad": "#ff9a90",
        "neutral": "#8794a5", "happiness": "#f2c037", "surprise": "#f0864a", "sadness": "#6aa2ec", "anger": "#ee6a6a",
        "disgust": "#93c25a", "fear": "#b596ea", "contempt": "#d98cb7",
        "people": "#8ab4ff", "attention": "#57c795", "valence": "#dfa958",
        "sound0": "#f0964a", "sound1": "#7db0f2", "sound2": "#57c795", "sound3": "#cf9be0", "sound4": "#e3bd4e",
        "sound5": "#f48bb0", "sound6": "#5cc9cf", "sound7": "#a3adba",
    }
)  # fmt: skip


def sound_class(label: str) -> str:
    """Return the class of a sound's colour: its own for the usual ones, one of the same for any other."""
    return f"s-{SOUNDS.index(label) if label in SOUNDS else sum(map(ord, label)) % 8}"


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21, as WCAG defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def css(*, chosen: bool) -> str:
    """Return the style sheet of the variables and of the classes ``e-<expression>``, ``s-<0 to 7>`` (sounds)
    and ``m-<figure>``.

    ``chosen``: the page chooses the theme (``data-theme`` of its root); else the reader's system does.
    """
    light, dark = _variables(LIGHT, "light"), _variables(DARK, "dark")
    dark_rule = f':root[data-theme="dark"]{dark}' if chosen else f"@media (prefers-color-scheme: dark){{:root{dark}}}"
    classes = [(f"e-{name}", name) for name in EMOTIONS] + [(f"s-{k}", f"sound{k}") for k in range(8)]
    classes += [(f"m-{name}", name) for name in ("people", "attention", "valence")]
    rules = [f".{kind}{{fill:var(--{name});color:var(--{name})}}" for kind, name in classes]
    return "\n".join([f":root{light}", dark_rule, *rules, ""])


def _variables(theme: Theme, scheme: str) -> str:
    return "{color-scheme:" + scheme + ";" + ";".join(f"--{name}:{colour}" for name, colour in theme.items()) + "}"
