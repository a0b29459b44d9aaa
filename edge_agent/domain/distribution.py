"""Name of this program's distribution, and detection of other distributions that write into its package.

On PyPI ``edge-agent`` is another project with a package ``edge_agent`` of its own. Installed beside this program, it
replaces files of ours, and uninstalling it removes them. Standard library only: it must be importable in that state.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib import metadata

DISTRIBUTION = "edge-emotion-agent"
"""What pip installs: the package ``edge_agent``, its plugins and the command ``edge-agent``."""

TAKEN = "edge-agent"
"""Another project on PyPI; also the name of this program before its first release."""


def foreign_distribution(search: Iterable[str] | None = None) -> str | None:
    """Find a distribution that shares the package ``edge_agent``; one line on what it is and what to do, or None.

    ``search``: folders with installed packages; default: where this interpreter looks.
    """
    from importlib import metadata  # heavy, and most starts do not come here

    path = list(sys.path if search is None else search)
    for found in metadata.distributions(name=TAKEN, path=path):
        remove = f"{sys.executable} -m pip uninstall {TAKEN}"
        if not _is_ours(found):
            return (
                f"{TAKEN} {found.version} is installed: that is another project, whose files replace those of this "
                f"program; run '{remove}', then install {DISTRIBUTION} again (docs/installation.md)"
            )
        if any(metadata.distributions(name=DISTRIBUTION, path=path)):
            return (
                f"this program is installed twice, as {DISTRIBUTION} and under its old name {TAKEN} {found.version}: "
                f"run '{remove}', then install {DISTRIBUTION} again (docs/installation.md)"
            )
    return None


def _is_ours(found: metadata.Distribution) -> bool:
    return any(point.group == "edge_agent" and point.value == "edge_agent_face" for point in found.entry_points)
