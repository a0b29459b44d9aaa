"""Passwords and TLS certificates: read for every connection, and errors that do not repeat a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from edge_agent.delivery.session import CREDENTIAL, password, tls_context
from edge_agent.domain.errors import ConfigError
from edge_agent.settings.mqtt import MqttSettings, TlsSettings
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_a_password_file_is_read_anew_and_only_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = MqttSettings(username="agent", password_file=file)
    file.write_text("first \nsecond\n", encoding="utf-8")
    assert password(settings) == "first"
    file.write_text("rotated", encoding="utf-8")
    assert password(settings) == "rotated"
    file.write_text("", encoding="utf-8")
    assert password(settings) == ""


def test_a_credential_of_systemd_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = MqttSettings(username="agent")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert password(settings) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password(settings) is None
    (tmp_path / CREDENTIAL).write_text("from systemd\n", encoding="utf-8")
    assert password(settings) == "from systemd"
    assert password(MqttSettings(username="agent", password=SecretStr("of the config"))) == "of the config"


@pytest.mark.parametrize("content", [None, b"canary-\xff-secret"])
def test_an_unreadable_password_file_is_named_without_its_content(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="the password cannot be read") as refusal:
        password(MqttSettings(username="agent", password_file=file))
    assert str(file) in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_certificates_are_checked_against_the_given_authority_only(authority: Authority) -> None:
    client = authority.issue("kiosk-1")
    context = tls_context(
        TlsSettings(enabled=True, ca_file=authority.ca.cert, cert_file=client.cert, key_file=client.key)
    )
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("option", ["ca_file", "cert_file", "key_file"])
def test_a_missing_file_of_tls_is_named(authority: Authority, tmp_path: Path, option: str) -> None:
    client = authority.issue("kiosk-1")
    files = {"ca_file": authority.ca.cert, "cert_file": client.cert, "key_file": client.key}
    missing = tmp_path / "gone.pem"
    with pytest.raises(ConfigError, match=f"{missing}: no such file; see mqtt.tls"):
        tls_context(TlsSettings(enabled=True, **(files | {option: missing})))


def test_files_that_are_no_certificates_or_do_not_belong_together_are_refused(
    authority: Authority, tmp_path: Path
) -> None:
    ours, other = authority.issue("kiosk-1"), authority.issue("kiosk-2")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("canary-secret", encoding="utf-8")
    wrong = [
        TlsSettings(enabled=True, ca_file=garbage),
        TlsSettings(enabled=True, ca_file=authority.ca.cert, cert_file=garbage, key_file=ours.key),
        TlsSettings(enabled=True, ca_file=authority.ca.cert, cert_file=ours.cert, key_file=other.key),
    ]
    for settings in wrong:
        with pytest.raises(ConfigError, match=r"mqtt\.tls: a certificate or key cannot be used") as refusal:
            tls_context(settings)
        assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("content", ["\ufeffsecret\r\n", "\ufeff\ufeffsecret", "secret\nmore"])
def test_what_editors_add_is_no_part_of_the_password(tmp_path: Path, content: str) -> None:
    """Case 21."""
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    assert password(MqttSettings(password_file=file)) == "secret"


def test_a_password_in_utf16_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    """PowerShell's > writes such files."""
    file = tmp_path / "password"
    file.write_bytes("secret\r\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="iconv -f UTF-16 -t UTF-8"):
        password(MqttSettings(password_file=file))
