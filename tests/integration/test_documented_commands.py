"""Every command in a block of the documentation is run, or is named here with the reason why not."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image
from skimage import data as pictures

from tests.support.cli import Cli
from tests.support.dashboard import film
from tests.support.documents import SHELL, Reader, blocks
from tests.support.mosquitto import Mosquitto
from tests.support.web_agent import running

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]

SYSTEM = "changes the system as root; tests/integration/test_install_package.py does so in a root of its own"
MACHINE = "starts virtual machines as root: scripts/machine is run by hand, its results are on the page"
NETWORK = "fetches packages; tests have no network"
ENGINE = "needs podman or docker, and fetches an image"
PUBLISHED = "tests/integration/test_apt_repository.py makes a repository with packages and a key of its own"
TRAINED = "trains for minutes; tests/integration/test_custom.py trains and tries on renders"

NOT_RUN: Mapping[str, Mapping[str, str]] = {
    "README.md": {
        "make demo": "sets up an environment from the network, then runs edge-agent demo",
        "make test": "runs all tests, this one among them",
        "edge-agent demo": "runs for a minute; tests/integration/test_cli_demo.py runs it for seconds",
        "edge-agent setup": "asks questions; tests/integration/test_cli_setup.py answers them on a terminal",
        "edge-agent analyze film.mp4 --speech": "needs a model of 40 MB; tests/integration/test_speech.py has it",
    },
    "docs/collector.md": {
        "sudo": SYSTEM,
        "pip install": NETWORK,
        "edge-agent-collect": "needs a PostgreSQL server; tests/integration/test_collector_database.py starts one",
    },
    "docs/custom-models.md": {
        "pip install": NETWORK,
        "edge-agent custom": TRAINED,
    },
    "docs/installation.md": {
        "sudo": SYSTEM,
        "journalctl": "reads the journal of a service that is not there",
        "scripts/build-deb": "builds for minutes; tests/integration/test_install_package.py builds",
        "packaging/apt/publish": PUBLISHED,
        "rsync": "copies to another machine",
        "git clone": NETWORK,
        "pip wheel": NETWORK,
        "edge-agent models pull": "fetches models; tests/integration/test_models_pull.py has a server for them",
        "python3 -m venv": NETWORK,
        "~/edge-agent/bin/": "an environment from the network; README.md has the same two commands",
        "podman": ENGINE,
        "openssl": ENGINE,
        "curl": ENGINE,
    },
    "docs/machine.md": {"sudo": MACHINE, "make setup-dev": MACHINE, "$machine": MACHINE},
    "docs/plugins.md": {"": "tests/integration/test_plugin_tutorial.py follows the tutorial word by word"},
    "docs/tutorials/home-assistant.md": {
        "cp /usr/share": "the package's files; tests/integration/test_install_package.py looks for them, and "
        "test_home_assistant.py uses them",
    },
    "docs/tutorials/kiosk.md": {
        "sudo": SYSTEM,
        "edge-agent watch": "needs the service that was started above; README.md has it, too",
    },
}
"""By page: how commands begin that are not run, and why."""

UNTIL = {
    "edge-agent run --config config.toml": "mqtt: connected",
    "edge-agent run -c config.toml": "mqtt: connected",
    "edge-agent watch": "status",  # of the agent that ran before
}
RETURNS = {"edge-agent doctor": 1, "edge-agent doctor -c config.toml": 1}
"""Something is always wrong with a test's machine: a missing microphone, a clock that nobody disciplines."""


def commands(page: str) -> list[str]:
    return [
        command
        for block in blocks(ROOT / page)
        if block.language in SHELL and not block.title
        for command, _ in block.steps()
    ]


def runs(page: str, command: str) -> bool:
    return not any(command.startswith(start) for start in NOT_RUN.get(page, ()))


RUN = [page for page in PAGES if any(runs(page, command) for command in commands(page))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the pages take for granted: a film and an archive of pictures."""
    (tmp_path / "home").mkdir()
    film(tmp_path / "film.mp4", seconds=1.0)
    Image.fromarray(pictures.astronaut()).save(tmp_path / "face.jpg")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.write(tmp_path / "face.jpg", "face.jpg")
    return tmp_path


@pytest.fixture
def around(request: pytest.FixtureRequest, folder: Path, cli: Cli) -> Iterator[dict[str, str]]:
    """Environment of a reader: a home, no network but a broker, and where a page speaks to it, a running agent."""
    if not Mosquitto.available():
        pytest.skip("needs the mosquitto broker (Debian: apt install mosquitto)")
    home, page = folder / "home", request.node.callspec.params["page"]
    environment = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "",
        "EDGE_AGENT__CAMERA__SOURCE": "demo",  # the same on machines that have a camera
        "EDGE_AGENT__MICROPHONE__SOURCE": "none",
        "EDGE_AGENT__LOG__LEVEL": "info",
    }
    with Mosquitto(folder / "mosquitto") as broker:
        environment["EDGE_AGENT__MQTT__PORT"] = str(broker.port)
        (home / ".config").mkdir()
        for tool in ("mosquitto_pub", "mosquitto_rr", "mosquitto_sub"):
            (home / ".config" / tool).write_text(f"-p {broker.port}\n")
        if page not in ("docs/mqtt.md", "docs/compatibility.md"):
            yield environment
            return
        for tool in ("curl", "mosquitto_rr"):
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool} (Debian: apt install curl mosquitto-clients)")
        mqtt = f'host = "127.0.0.1"\nport = {broker.port}'
        with running(cli, folder, mqtt=mqtt, commands="enabled = true", camera='source = "demo"') as agent:
            (home / ".curlrc").write_text(f"fail\nsilent\nconnect-to = 127.0.0.1:8765:127.0.0.1:{agent.port}\n")
            yield environment | {"TOKEN": agent.token}


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page: str, folder: Path, cli: Cli, around: dict[str, str]) -> None:
    reader = Reader(folder, {**cli.environment, **around}, UNTIL, RETURNS)
    for block in blocks(ROOT / page):
        reader.follow(block, NOT_RUN.get(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_tells_its_language(page: str) -> None:
    """A block without one might hold commands that nobody runs."""
    assert [block.line for block in blocks(ROOT / page) if not block.language] == []
    assert (ROOT / page).read_text(encoding="utf-8").count("\n```") == 2 * len(blocks(ROOT / page))


@pytest.mark.parametrize("page", NOT_RUN)
def test_what_is_left_out_is_on_its_page(page: str) -> None:
    gone = [start for start in NOT_RUN[page] if not any(command.startswith(start) for command in commands(page))]
    assert gone == []
