"""Whether the kernel's clock is disciplined by a time source."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2); only ``modes`` and ``status`` matter, the rest is room for the kernel."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


def clock_is_synced() -> bool:
    """adjtimex(2) with ``modes = 0``: False while the kernel says unsynchronised, or where it cannot be asked."""
    if not sys.platform.startswith("linux"):
        return False
    timex = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    return state not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC


def sync_probe(trusted: bool) -> Callable[[], bool]:
    """What :class:`~edge_agent.domain.clock.SystemClock` asks; a clock that is ``trusted`` counts as synchronised."""
    return (lambda: True) if trusted else clock_is_synced
