"""The collector's config file: every mistake is one line that names its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.collect.settings import load
from edge_agent.domain.errors import ConfigError


def test_the_sample_is_valid_and_says_the_defaults(repository: Path, tmp_path: Path) -> None:
    sample = repository / "config" / "fleet" / "collect.toml"
    settings = load(sample)
    assert settings.mqtt.host == "broker.example"
    assert settings.client_id == "collector-1"
    assert settings.database.retention_days == 365
    lines = [line for line in sample.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    options = [line[2:] for line in lines if " = " in line and line[2:].split(" = ")[0].isidentifier()]
    assert len(options) > 8
    commented = tmp_path / "all.toml"
    text = sample.read_text(encoding="utf-8")
    for option in options:
        text = text.replace(f"# {option}", option, 1)
    commented.write_text(text, encoding="utf-8")
    assert load(commented).reading == settings.reading.model_copy(update={"metrics": "127.0.0.1:9465"})


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[mqtt]\nhost = "a"\nport = 1\n[database]\nurl = "dbname=x"\n', encoding="utf-8")
    monkeypatch.setenv("EDGE_AGENT_COLLECT__MQTT__HOST", "b")
    monkeypatch.setenv("EDGE_AGENT_COLLECT__TIMEZONES", '{"here": "Asia/Tokyo"}')
    settings = load(config)
    assert (settings.mqtt.host, settings.mqtt.port) == ("b", 1)
    assert settings.timezones == {"here": "Asia/Tokyo"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[reading]\nbatchs = 1", "line 2: unknown key reading.batchs; did you mean"),
        ("[database]\nretention_days = -1", "line 2: database.retention_days:"),
        ('[database]\npartition = "year"', "line 2: database.partition:"),
        ('[timezones]\nhere = "Mars/Base"', "line 2: timezones.here: must be a time zone"),
        ('[reading]\ngroup = "a/b"', "line 2: reading.group:"),
        ('[reading]\nmetrics = "9465"', "line 2: reading.metrics: must be address and port"),
        ('[mqtt]\nprotocol = "3.1.1"', "has no shared subscriptions"),
        ('[mqtt]\nhost = "mqtt://a"', "line 2: mqtt.host:"),
        ('[database]\npassword = "a"\npassword_file = "/b"', "exclude each other"),
        ("[databas]\n", "unknown key databas; did you mean"),
        ("[[", "not valid TOML"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_and_variables_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load(tmp_path / "none.toml")
    monkeypatch.setenv("EDGE_AGENT_COLLECT__DATABSE__URL", "x")
    with pytest.raises(ConfigError, match="unknown section 'databse'"):
        load(None)


def test_the_password_comes_from_its_file_or_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database-password").write_text("secret\n", encoding="utf-8")
    config = tmp_path / "c.toml"
    config.write_text("", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(config)
    assert settings.database.password_text() == "secret"
    assert "secret" not in repr(settings)
    monkeypatch.setenv("EDGE_AGENT_COLLECT__DATABASE__PASSWORD_FILE", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="the database's password cannot be read"):
        load(config).database.password_text()
