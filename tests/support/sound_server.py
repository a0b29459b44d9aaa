"""Microphones without hardware: a PulseAudio of the test's own (real time), and ALSA's file device (exact samples)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = "Debian: apt install libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"


class SoundServer:
    """PulseAudio with a null sink whose monitor is the default source; its files are in ``folder``.

    :attr:`environment` makes a child process use it as its only sound device; :attr:`changed` of it are not as ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "asound.conf"
        config.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.changed = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_SERVER": f"unix:{folder}/native",
            "ALSA_CONFIG_PATH": str(config),
        }
        self.environment = os.environ | self.changed
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def available() -> bool:
        """Whether the needed Debian packages are there."""
        plugin = any(Path(root).glob("*/alsa-lib/libasound_module_pcm_pulse.so") for root in ("/usr/lib", "/usr/lib64"))
        return plugin and all(shutil.which(tool) for tool in ("pulseaudio", "pactl", "paplay"))

    def start(self) -> None:
        """Start and wait until it answers."""
        modules = [f"module-native-protocol-unix socket={self._folder}/native", "module-null-sink sink_name=virt"]
        self._process = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-level=error"]
            + [part for module in modules for part in ("-L", module)],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while self._pactl("info").returncode:
            assert time.monotonic() < deadline, "PulseAudio did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def unplug(self) -> None:
        """Take the only device away."""
        self._pactl("unload-module", "module-null-sink").check_returncode()

    def plug(self) -> None:
        """Bring it back."""
        self._pactl("load-module", "module-null-sink", "sink_name=virt").check_returncode()

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Let the microphone hear a file."""
        return subprocess.Popen(["paplay", str(path)], env=self.environment)

    def _pactl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["pactl", *arguments], env=self.environment, capture_output=True, timeout=20, check=False)


class Listener:
    """A child process that listens (:mod:`tests.support.listen`); its report arrives line by line."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.support.listen", *arguments]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self._log)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield json.loads(line)

    def wait_for_error(self, words: str) -> None:
        """Until the log says so."""
        deadline = time.monotonic() + 20
        while words not in os.pread(self._log.fileno(), 1 << 20, 0).decode():
            assert time.monotonic() < deadline, f"the listener did not say {words!r}"
            time.sleep(0.05)

    def end(self) -> None:
        """Do not wait for it any longer."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


def file_device(folder: Path, samples: np.ndarray[Any, Any], name: str = "testmic") -> Path:
    """An ALSA configuration whose only device is fed from a file: exact, but as fast as it is read."""
    raw, config = folder / "samples.raw", folder / "asound.conf"
    raw.write_bytes(samples.astype(np.float32).tobytes())
    config.write_text(
        f'pcm.{name} {{ type file slave {{ pcm null }} file /dev/null infile "{raw}" format raw }}\n'
        f"pcm.null {{ type null }}\npcm.!default {name}\n"
    )
    return config
