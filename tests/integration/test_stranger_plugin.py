"""A third party's plugin, installed with pip on top of edge-agent in an environment of its own, as a stranger would."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import Cli

ALLOW = '[plugins]\nallow = ["loudness"]\n'


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A virtual environment that sees this one's packages, with ``plugins/example_loudness`` installed on top."""
    folder = tmp_path_factory.mktemp("stranger") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = (folder / "lib").glob("python3.*/site-packages")
    # addsitedir, unlike a plain path, also honours the .pth file of an editable edge-agent.
    ours = [p for p in site.getsitepackages() if Path(p).is_dir()]
    (packages / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "-q", str(repository / "plugins" / "example_loudness")],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        timeout=100,
    )
    return folder


def agent(environment: Path, cli: Cli, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "python"), "-m", "edge_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=cli.environment, timeout=100, check=False)


def test_a_third_party_plugin_is_listed_but_not_loaded_until_allowed(environment: Path, cli: Cli) -> None:
    result = agent(environment, cli, "plugins", "list", "--json")
    assert result.returncode == 0, result.stderr
    row = {r["plugin"]: r for r in json.loads(result.stdout)}["loudness"]
    assert row["status"] == "disabled"
    assert "plugins.allow" in row["detail"]


def test_its_observations_reach_a_summary(environment: Path, cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(ALLOW)
    listed = agent(environment, cli, "plugins", "list", "--json", "-c", str(config))
    row = {r["name"]: r for r in json.loads(listed.stdout)}["loudness"]
    assert (row["status"], row["kind"]) == ("enabled", "audio")
    assert row["distribution"].startswith("edge-agent-example-loudness")

    sound = tmp_path / "tone.wav"
    tone = (0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(16000 * 3) / 16000)).astype("<i2")
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, len(tone), "NONE", "not compressed"))
        file.writeframes(tone.tobytes())
    analysed = agent(environment, cli, "analyze", str(sound), "--format", "json", "-c", str(config))
    assert analysed.returncode == 0, analysed.stderr
    (measure,) = [w["measures"]["loudness.dbfs"] for w in json.loads(analysed.stdout)["windows"] if "measures" in w]
    assert measure["mean"] == pytest.approx(-9.0, abs=0.3)  # a sine at half of full scale
    assert measure["n"] >= 2
