"""Native libraries' lines end in the log; whatever else is written to standard error stays there."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, logging, os, threading
logging.basicConfig(level=logging.DEBUG, format="LOG %(levelname)s %(message)s")
from edge_agent.domain.native import native_lines
libc = ctypes.CDLL(None)
with native_lines(logging.getLogger("x")):
    os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n")
    os.write(2, b"ALSA lib pcm.c:2664:(snd_pcm_open_noupdate) Unknown PCM\\n")
    os.write(2, b"terminate called\\n")
os.write(2, b"INFO: afterwards\\n")
os.close(2)
with native_lines(logging.getLogger("x")):
    pass
"""


def test_chatter_goes_to_the_log_and_the_rest_stays() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert sorted(done.stderr.splitlines()) == [
        "INFO: afterwards",
        "LOG DEBUG ALSA lib pcm.c:2664:(snd_pcm_open_noupdate) Unknown PCM",
        "LOG DEBUG INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        "terminate called",
    ]
