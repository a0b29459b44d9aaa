"""The signed repository of packaging/apt, read by apt itself: channels, signatures, going back, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]
Publish = Callable[..., Done]
NEEDED = ("apt-get", "dpkg-deb", "gpg", "gpgv")


def run(*command: object, check: bool = True, **environment: str) -> Done:
    words = [str(word) for word in command]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def key() -> Iterator[str]:
    """The home of a keyring with a key that lives for this test."""
    for tool in NEEDED:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian: apt install apt dpkg gnupg)")
    # gpg-agent's socket: the path must be short.
    home = Path(f"/tmp/edge-agent-gpg-{os.getpid()}")
    home.mkdir(mode=0o700)
    generate = ("--quick-generate-key", "Packages <packages@example.invalid>", "ed25519", "sign", "1d")
    run("gpg", "--batch", "--homedir", home, "--passphrase", "", *generate)
    yield str(home)
    run("gpgconf", "--homedir", home, "--kill", "all", check=False)
    shutil.rmtree(home)


def package(folder: Path, version: str, arch: str = "amd64", name: str = "edge-agent", content: str = "") -> Path:
    """A small package with the name and version of a real one."""
    tree = folder / f"tree-{version}-{arch}-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    control = {"Package": name, "Version": version, "Architecture": arch, "Maintainer": "x <x@example.invalid>"}
    lines = [f"{key}: {value}" for key, value in control.items()]
    (tree / "DEBIAN/control").write_text("\n".join([*lines, "Description: test", f" {content or version}.", ""]))
    target = folder / f"{name}_{version}_{arch}{content}.deb"
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target)
    return target


class Device:
    """apt of a device whose whole state lies in a folder; ``sources`` is the file that packaging/ has for devices."""

    def __init__(self, folder: Path, repository: Path, sources: str) -> None:
        for name in ("lists/partial", "archives/partial", "sources.d", "preferences.d"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        text = sources.replace("https://packages.example/edge-agent", f"file:{repository}")
        text = text.replace("/etc/apt/keyrings/edge-agent.asc", f"{repository}/edge-agent.asc")
        (folder / "sources.d/edge-agent.sources").write_text(text)
        options = {
            "Dir::State": folder,
            "Dir::State::status": folder / "status",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder,
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": folder / "sources.d",
            "Dir::Etc::PreferencesParts": folder / "preferences.d",
            "APT::Architecture": "amd64",
            "APT::Architectures::": "amd64",
            "APT::Sandbox::User": "root",
        }
        self._options = [word for item in options.items() for word in ("-o", f"{item[0]}={item[1]}")]

    def update(self, *, check: bool = True) -> Done:
        return run("apt-get", "update", "--error-on=any", *self._options, check=check)

    def versions(self) -> list[str]:
        lines = run("apt-cache", "madison", "edge-agent", *self._options).stdout.splitlines()
        return [line.split("|")[1].strip() for line in lines]


@pytest.fixture
def publish(repository: Path, key: str, tmp_path: Path) -> Publish:
    def call(channel: str, *packages: Path, check: bool = True) -> Done:
        script = repository / "packaging/apt/publish"
        words = [sys.executable, script, tmp_path / "www", "--channel", channel, "--key", "packages@example.invalid"]
        return run(*words, *packages, check=check, GNUPGHOME=key)

    return call


def test_a_device_sees_its_suite_and_channel_and_can_go_back(
    publish: Publish, repository: Path, tmp_path: Path
) -> None:
    stable = [package(tmp_path, f"0.{minor}.0+py3.11") for minor in (1, 2)]
    publish("stable", *stable, package(tmp_path, "0.2.0+py3.13"), package(tmp_path, "0.2.0+py3.11", "arm64"))
    publish("beta", package(tmp_path, "0.3.0~rc1+py3.11"))
    sources = (repository / "packaging/apt/edge-agent.sources").read_text()
    device = Device(tmp_path / "stable", tmp_path / "www", sources)
    device.update()
    assert device.versions() == ["0.2.0+py3.11", "0.1.0+py3.11"]
    early = Device(tmp_path / "beta", tmp_path / "www", sources.replace("stable", "stable beta"))
    early.update()
    assert early.versions()[0] == "0.3.0~rc1+py3.11"
    newer = Device(tmp_path / "trixie", tmp_path / "www", sources.replace("bookworm", "trixie"))
    newer.update()
    assert newer.versions() == ["0.2.0+py3.13"]


def test_apt_refuses_what_was_changed_after_signing(publish: Publish, repository: Path, tmp_path: Path) -> None:
    publish("stable", package(tmp_path, "0.2.0+py3.11"))
    index = tmp_path / "www/dists/bookworm/InRelease"
    index.write_text(index.read_text().replace("Origin: edge-agent", "Origin: edge-Agent"))
    sources = (repository / "packaging/apt/edge-agent.sources").read_text()
    done = Device(tmp_path / "device", tmp_path / "www", sources).update(check=False)
    assert done.returncode != 0
    assert "BADSIG" in done.stdout + done.stderr or "invalid" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "name", "reason"),
    [
        ("0.2.0", "edge-agent", "not a package of scripts/build-deb"),
        ("0.2.0+py3.12", "edge-agent", "not a package of scripts/build-deb"),
        ("0.2.0+py3.11", "another", "not a package of scripts/build-deb"),
    ],
)
def test_what_is_no_package_of_ours_is_refused(
    publish: Publish, tmp_path: Path, version: str, name: str, reason: str
) -> None:
    done = publish("stable", package(tmp_path, version, name=name), check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not list((tmp_path / "www").rglob("InRelease"))


def test_a_published_version_never_changes(publish: Publish, tmp_path: Path) -> None:
    publish("stable", package(tmp_path, "0.2.0+py3.11"))
    shutil.rmtree(tmp_path / "tree-0.2.0+py3.11-amd64-edge-agent")
    done = publish("stable", package(tmp_path, "0.2.0+py3.11", content="other"), check=False)
    assert done.returncode == 1
    assert "published already" in done.stderr


def test_a_key_that_is_missing_is_named(publish: Publish, repository: Path, key: str, tmp_path: Path) -> None:
    script = repository / "packaging/apt/publish"
    words = [sys.executable, script, tmp_path / "www", "--channel", "stable", "--key", "nobody@example.invalid"]
    done = run(*words, check=False, GNUPGHOME=key)
    assert done.returncode == 1
    assert "nobody@example.invalid" in done.stderr
