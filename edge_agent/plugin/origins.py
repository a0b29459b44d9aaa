"""Find the entry points of plugins that are installed, and the distributions they come from.

Reading them takes long on a Raspberry Pi, so both are kept until something is installed or removed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.domain.text import did_you_mean
from edge_agent.plugin.spec import PROJECT


def installation_stamp() -> tuple[tuple[str, int], ...]:
    """Tell whether something was installed: the folders of ``sys.path``, and when each of them was changed."""
    found = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found.append((folder, os.stat(folder or ".").st_mtime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=1)
def installed(read: Callable[..., Any], _stamp: object) -> tuple[tuple[importlib.metadata.EntryPoint, ...], Origins]:
    """Return the installed entry points and their distributions; cached, because reading them takes 50 ms."""
    return tuple(read(group=PROJECT)), Origins()


class Origins:
    """Distribution name and version of entry points. Cached: parsing metadata dominates the time to open a session."""

    def __init__(self) -> None:
        self._known: dict[importlib.metadata.Distribution, str] = {}

    def __call__(self, entry_point: importlib.metadata.EntryPoint) -> str:
        if (dist := entry_point.dist) is None:
            return ""
        if dist not in self._known:
            self._known[dist] = f"{dist.name} {dist.version}"
        return self._known[dist]


def not_installed(name: str, installed: Sequence[str]) -> str:
    """Explain that ``plugins.allow`` names a plugin that is not among those ``installed``."""
    remedy = did_you_mean(name, installed, "install the package that does, or remove the name from the list")
    return f"plugins.allow names {name!r}, which no installed package offers{remedy}"
