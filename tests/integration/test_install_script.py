"""scripts/install.sh below a folder of the test's: real environments, real pip, stand-in wheels for the versions.

The stand-ins are tiny packages called edge-emotion-agent, so that upgrades, failures and rollbacks of many "versions"
take seconds. The real program is installed by test_install_package.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
VERSION, ACCEPTS = {version!r}, {accepts!r}
def main():
    args = sys.argv[1:]
    if args == ["--version"]:
        print("edge-agent", VERSION)
    elif args[:2] == ["config", "init"]:
        Path(args[2]).write_text("# sample of " + VERSION)
    elif args[:2] == ["config", "check"]:
        sys.exit(0 if ACCEPTS else 2)
    elif args[:2] == ["models", "pull"]:
        print(args)
"""


def make_wheel(folder: Path, version: str, *, accepts: bool = True, broken: bool = False) -> Path:
    """A wheel of the distribution; ``accepts``: its ``config check`` succeeds; ``broken``: it does not even start."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"edge_emotion_agent-{version}-py3-none-any.whl"
    info = f"edge_emotion_agent-{version}.dist-info"
    program = "raise SystemExit(1)" if broken else PROGRAM.format(version=version, accepts=accepts)
    files = {
        "edge_agent.py": program,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edge-emotion-agent\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedge-agent = edge_agent:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return path


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def install(repository: Path, tmp_path: Path) -> Run:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        script = repository / "scripts" / "install.sh"
        command = [str(script), "--root", str(tmp_path / "root"), "--python", sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def version(root: Path) -> str:
    program = root / "opt/edge-agent/bin/edge-agent"
    return subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout.strip()


def environments(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "opt/edge-agent").glob("venv-*"))


def test_install_again_upgrade_roll_back_and_uninstall(install: Run, root: Path, tmp_path: Path) -> None:
    one, two = make_wheel(tmp_path / "one", "1.0"), make_wheel(tmp_path / "two", "2.0")
    done = install("--from", one)
    assert done.returncode == 0, done.stderr
    assert version(root) == "edge-agent 1.0"
    config = root / "etc/edge-agent/config.toml"
    assert config.read_text() == "# sample of 1.0"
    assert (root / "etc/systemd/system/edge-agent.service").exists()
    assert (root / "usr/local/bin/edge-agent").readlink() == Path("/opt/edge-agent/bin/edge-agent")
    config.write_text("# mine")

    first = environments(root)
    done = install("--from", one)
    assert "already up to date" in done.stdout
    assert environments(root) == first

    assert install("--from", two).returncode == 0
    assert version(root) == "edge-agent 2.0"
    assert config.read_text() == "# mine"
    assert len(environments(root)) == 2

    assert install("--rollback").returncode == 0
    assert version(root) == "edge-agent 1.0"

    assert install("--from", make_wheel(tmp_path / "three", "3.0")).returncode == 0
    assert len(environments(root)) == 2, "one earlier version is kept, no more"
    assert install("--rollback").returncode == 0
    assert version(root) == "edge-agent 1.0"

    (root / "var/lib/edge-agent").mkdir(parents=True)
    assert install("--uninstall").returncode == 0
    assert not (root / "opt/edge-agent").exists()
    assert not (root / "etc/systemd/system/edge-agent.service").exists()
    assert config.exists()
    assert (root / "var/lib/edge-agent").exists()
    assert install("--uninstall", "--purge").returncode == 0
    assert not config.exists()
    assert not (root / "var/lib/edge-agent").exists()


def test_a_new_version_that_does_not_work_changes_nothing(install: Run, root: Path, tmp_path: Path) -> None:
    assert install("--from", make_wheel(tmp_path / "one", "1.0")).returncode == 0
    before = environments(root)
    for wheel in (
        make_wheel(tmp_path / "two", "2.0", broken=True),
        make_wheel(tmp_path / "three", "3.0", accepts=False),
    ):
        done = install("--from", wheel)
        assert done.returncode == 1
        assert "nothing was changed" in done.stderr
        assert version(root) == "edge-agent 1.0"
        assert environments(root) == before


def test_a_wheelhouse_needs_no_network_and_brings_the_models(install: Run, root: Path, tmp_path: Path) -> None:
    house = make_wheel(tmp_path / "house", "1.0").parent
    done = install("--wheelhouse", house, "--from", "edge-emotion-agent")
    assert done.returncode == 0, done.stderr
    assert version(root) == "edge-agent 1.0"
    assert (root / "var/lib/edge-agent/models").is_dir()
    done = install("--wheelhouse", house, "--from", "edge-emotion-agent==9.9")
    assert done.returncode == 1
    assert version(root) == "edge-agent 1.0"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--purge"], "belongs to --uninstall"),
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--from"], "needs a value"),
        (["--rollback"], "no earlier installation"),
    ],
)
def test_wrong_use_is_one_line(install: Run, arguments: list[str], says: str) -> None:
    done = install(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_lists_every_option(install: Run, repository: Path) -> None:
    text = install("--help").stdout
    for option in ("--from", "--wheelhouse", "--start", "--rollback", "--uninstall", "--purge", "--root", "--python"):
        assert option in text


def test_shell_scripts_are_clean(repository: Path) -> None:
    tool = shutil.which("shellcheck")
    if tool is None:
        pytest.skip("needs shellcheck (Debian: apt install shellcheck)")
    scripts = [
        *(repository / "packaging/debian").glob("p*"),
        *(path for path in (repository / "scripts").iterdir() if path.read_bytes().startswith(b"#!/usr/bin/env bash")),
    ]
    done = subprocess.run([tool, *map(str, scripts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
