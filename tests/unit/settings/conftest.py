"""An environment without options of ours, so that a developer's own do not decide a test."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("EDGE_AGENT_"):
            monkeypatch.delenv(variable)
