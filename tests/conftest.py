"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and data sets that lies beside the project's checkout; a user does not have it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "media").is_dir():
        pytest.skip("needs ../shared (recordings and data sets that are not part of the repository)")
    return folder
