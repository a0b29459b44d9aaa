"""A camera's password is in the config file and nowhere else: not in output, log, health, info or support bundle."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.subscriber import Subscriber

SECRET = "NotTelling1"


def config(folder: Path, source: str, broker_port: int) -> str:
    path = folder / "config.toml"
    path.write_text(
        f"[device]\nid = 'leak'\nstate_dir = '{folder / 'state'}'\n[mqtt]\nhost = '127.0.0.1'\nport = {broker_port}\n"
        f"[camera]\nsource = '{source}'\ntimeout_s = 1\n[microphone]\nsource = 'none'\n[log]\nlevel = 'debug'\n"
    )
    return str(path)


def bundle_of(cli: Cli, folder: Path, path: str) -> str:
    bundle = folder / "bundle.tgz"
    result = cli("doctor", "-c", path, "--bundle", str(bundle))
    with tarfile.open(bundle) as archive:
        files = [archive.extractfile(entry) for entry in archive]
        return result.stdout + result.stderr + "".join(file.read().decode() for file in files if file)


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp://admin:{SECRET}@127.0.0.1:{{port}}/live",
        f"http://admin:p%40%5B%2F{SECRET}@127.0.0.1:{{port}}/live",
        f"http://127.0.0.1:{{port}}/user=admin_password={SECRET}_channel=1.sdp?token={SECRET}",
    ],
)
def test_the_password_of_a_camera_is_in_no_output(
    cli: Cli, broker: Mosquitto, subscriber: Subscriber, tmp_path: Path, address: str
) -> None:
    path = config(tmp_path, address.format(port=free_port()), broker.port)
    agent = cli.start("run", "-c", path)
    try:
        health = subscriber.wait(
            lambda all_: [m for m in all_ if m.topic == "edge-agent/leak/health" and b"127.0.0.1" in m.payload], 60
        )
        assert health
    finally:
        agent.terminate()
        log, _ = agent.communicate(timeout=30)
    heard = b"".join(message.payload for message in list(subscriber.messages)).decode()
    shown = "".join(cli("config", "show", "-c", path, *more).stdout for more in ((), ("--json",)))
    for text in (log, heard, shown, bundle_of(cli, tmp_path, path)):
        assert "127.0.0.1" in text
        assert SECRET not in text


@pytest.mark.parametrize(
    ("password", "code"),
    [("pa[NotTelling1", "%5B"), ("pa@NotTelling1", "%40"), ("pa/NotTelling1", "%2F"), ("pa NotTelling1", "%20")],
)
def test_an_address_that_can_be_misread_is_refused_by_every_command(
    cli: Cli, tmp_path: Path, password: str, code: str
) -> None:
    path = config(tmp_path, f"rtsp://admin:{password}@127.0.0.1:18554/live", 1)
    for command in (("config", "check"), ("config", "show"), ("run",)):
        result = cli(*command, "-c", path)
        assert (result.returncode, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1
        assert code in result.stderr
        assert "line 8" in result.stderr
        assert SECRET not in result.stderr
    assert SECRET not in bundle_of(cli, tmp_path, path)
