"""What a Raspberry Pi's firmware says about heat and power: the throttle flags, read from sysfs without vcgencmd.

Other machines have no such flags; their kernels show throttling in the temperature only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = (1 << bit for bit in range(4))
_SINCE_BOOT = 16
"""The same four flags again this many bits up: whether it happened since the machine was started."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """The firmware's flag word, as ``vcgencmd get_throttled`` prints it."""

    flags: int

    @property
    def under_voltage(self) -> bool:
        """The supply is too weak now."""
        return bool(self.flags & _UNDER_VOLTAGE)

    @property
    def slowed(self) -> bool:
        """The processor runs slower than it could, because of heat or voltage, now."""
        return bool(self.flags & (_CAPPED | _THROTTLED | _SOFT_LIMIT))

    @property
    def was_under_voltage(self) -> bool:
        """The supply was too weak at some time since the start."""
        return Throttling(self.flags >> _SINCE_BOOT).under_voltage

    @property
    def was_slowed(self) -> bool:
        """The processor was slowed at some time since the start."""
        return Throttling(self.flags >> _SINCE_BOOT).slowed


def read_throttling(sysfs: Path = Path("/sys")) -> Throttling | None:
    """The flags now, or None where there is no such firmware."""
    for path in sysfs.glob("devices/platform/soc*/soc*firmware/get_throttled"):
        try:
            return Throttling(int(path.read_text(), 16))
        except (OSError, ValueError):
            continue
    return None
