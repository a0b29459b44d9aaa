"""One array at a time from the agent to a child, through anonymous shared memory (a sealed memfd).

It has no name, so nothing of it can be left behind: it is gone with the last process that has it open. It grows as
needed and never shrinks, which the kernel enforces: a child that goes wrong cannot pull it away from under the agent.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class Area:
    """The agent's end."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("edge-agent-analyzer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self._map: mmap.mmap | None = None

    def put(self, data: npt.NDArray[Any]) -> None:
        """Copy ``data``, of any shape and layout, to the beginning."""
        if data.nbytes == 0:
            return
        if self._map is None or len(self._map) < data.nbytes:
            os.ftruncate(self.fd, data.nbytes)
            self._map = mmap.mmap(self.fd, data.nbytes)
        np.copyto(np.frombuffer(self._map, data.dtype, data.size).reshape(data.shape), data)

    def close(self) -> None:
        """Let go of it; once."""
        self._map = None
        os.close(self.fd)


class View:
    """A child's end; ``fd`` is the inherited descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None

    def take(self, shape: Sequence[int], dtype: str) -> npt.NDArray[Any]:
        """A copy of what was put there: an analyzer may keep it, as it could keep any other array."""
        found = np.empty(shape, dtype)
        if found.nbytes == 0:
            return found
        if self._map is None or len(self._map) < found.nbytes:
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size, prot=mmap.PROT_READ)
        np.copyto(found, np.frombuffer(self._map, found.dtype, found.size).reshape(found.shape))
        return found
