"""Reports what a microphone hears; a process of its own because ALSA and PulseAudio read their environment once.

One JSON line per block, ``{"time", "wall", "seconds", "gap", "peak", "reopens", "available"}`` (``time`` on the same
monotonic clock as ``wall``); with ``--save`` the samples go to a .npy file at the end. Ends after ``--seconds`` of
sound.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time

import numpy as np

from edge_agent.capture import ReplayGroup, make_audio
from edge_agent.domain.clock import SystemClock
from edge_agent.settings import MicrophoneSettings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--channel", type=int)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--deadline", type=float, default=40.0)
    parser.add_argument("--save")
    options = parser.parse_args()
    clock = SystemClock(lambda: True)
    settings = MicrophoneSettings(source=options.source, channel=options.channel, timeout_s=2)
    source = make_audio(settings, clock, {}, ReplayGroup(clock))
    assert source is not None
    timer = threading.Timer(options.deadline, source.close)
    timer.daemon = True
    timer.start()
    source.open()
    heard, samples = 0.0, []
    while heard < options.seconds and (block := source.read()) is not None:
        heard += block.seconds
        samples.append(block.samples)
        line = {"time": block.time, "wall": time.monotonic(), "seconds": block.seconds, "gap": block.gap}
        status = {"reopens": source.status.reopens, "available": source.status.available}
        sys.stdout.write(json.dumps(line | status | {"peak": float(np.abs(block.samples).max())}) + "\n")
        sys.stdout.flush()
    if options.save:
        np.save(options.save, np.concatenate(samples))
    start = time.monotonic()
    source.close()
    sys.stdout.write(json.dumps({"closed_in": time.monotonic() - start, "error": source.status.error}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
