"""The child of a kill loop as a process of its own: ``python -m tests.support.outbox_process FOLDER BOOT_ID``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.torture import work

if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    work(Path(sys.argv[1]), sys.argv[2], sys.stdout.fileno(), seed=1)
