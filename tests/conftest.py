"""Fixtures every test may use."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from edge_agent.models import ModelStore
from tests.support.cli import Cli

pytest_plugins = ["tests.fixtures_models", "tests.support.fixtures", "tests.support.media"]

# Machines under test are slow and busy: how long an example takes says nothing here.
hypothesis_settings.register_profile("edge-agent", deadline=None)
hypothesis_settings.load_profile("edge-agent")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Undo what a command that runs in this process does to logging: later tests read the log."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and data sets that lies beside the project's checkout; a user does not have it.

    For what is true of any recording use ``media``, which is made on the spot.
    """
    folder = REPOSITORY.parent / "shared"
    if not (folder / "media").is_dir():
        pytest.skip("needs ../shared (recordings and data sets that are not part of the repository)")
    return folder


@pytest.fixture(scope="session")
def cli(model_store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The installed command with its own state directory and every model that this machine can have."""
    folder = tmp_path_factory.mktemp("cli")
    models = shutil.copytree(model_store.directory, folder / "models")
    yamnet = REPOSITORY.parent / "shared" / "models" / "yamnet.tflite"
    if yamnet.exists():
        shutil.copy(yamnet, models / "yamnet.tflite")
    return Cli(
        {
            "EDGE_AGENT__MODELS__DIR": str(models),
            "EDGE_AGENT__MODELS__AUTO_PULL": "false",
            "EDGE_AGENT__DEVICE__STATE_DIR": str(folder / "state"),
        }
    )
