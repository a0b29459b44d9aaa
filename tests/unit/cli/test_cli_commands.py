"""The command line imports what a command needs and nothing else, and its list of commands says what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest

from edge_agent.cli import main as entry
from edge_agent.cli.main import COMMANDS

HEAVY = ("numpy", "cv2", "av", "pydantic", "rich", "paho", "importlib.metadata", "asyncio")


def imported_by(*arguments: str) -> set[str]:
    program = (
        "import sys, contextlib, io\n"
        "from edge_agent.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print('\\n', *sys.modules, file=sys.__stderr__)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT__")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_asking_what_there_is_imports_no_heavy_library(argument: str) -> None:
    assert imported_by(argument).isdisjoint(HEAVY)


def test_checking_a_config_imports_only_what_it_is_checked_with() -> None:
    needless = {"cv2", "av", "paho", "sounddevice", "numpy", "rich", "asyncio", "http.client", "pydantic_settings"}
    assert imported_by("config", "check").isdisjoint(needless)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_matches_their_help(name: str) -> None:
    module = import_module(f"edge_agent.cli.{name}")
    said = module.app.info.help if hasattr(module, "app") else getattr(module, name).__doc__
    assert " ".join(said.split()).startswith(COMMANDS[name])
    assert callable(entry)
