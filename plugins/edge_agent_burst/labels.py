"""The vocal bursts this plugin reports and the sounds it knows only to reject."""

from __future__ import annotations

from typing import Literal, get_args

Label = Literal["laughter", "crying", "scream", "sigh", "gasp", "groan", "cough", "throat_clearing", "sneeze"]

LABELS: tuple[Label, ...] = get_args(Label)
"""Everything that can be reported. Panting counts as ``gasp``."""

SPEECH = "speech"
BACKGROUND = "background"
REJECTIONS = (SPEECH, BACKGROUND)
"""Classes that models know and that are never reported."""
