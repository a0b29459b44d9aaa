"""File, environment and defaults become settings; whatever is wrong is told in one line that names its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_agent.domain.errors import ConfigError
from edge_agent.settings import Settings, default_path, load, parse, read

Env = pytest.MonkeyPatch


def wrong(text: str) -> list[str]:
    """The lines of the error that ``text`` gives."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.toml")
    return str(caught.value).splitlines()


# ---------------------------------------------------------------- defaults and precedence


def test_without_file_and_environment_everything_has_a_default() -> None:
    settings = load(None)
    assert settings.mqtt.host == "localhost"
    assert settings.mqtt.effective_port == 1883
    assert settings.summary.window_s == 10
    assert settings.analyzers == {}
    assert Settings.model_validate(settings.model_dump()).model_dump() == settings.model_dump()


def test_settings_cannot_be_changed() -> None:
    settings = load(None)
    with pytest.raises(ValidationError, match="frozen"):
        settings.mqtt.host = "elsewhere"  # type: ignore[misc]


def test_the_file_outranks_defaults_and_the_environment_outranks_the_file(monkeypatch: Env) -> None:
    text = "[mqtt]\nhost = 'file'\nport = 1884\n[mqtt.tls]\nenabled = true"
    monkeypatch.setenv("EDGE_AGENT__MQTT__HOST", "environment")
    mqtt = parse(text, "c.toml").mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls.enabled, mqtt.keepalive_s) == ("environment", 1884, True, 30)


def test_nested_tables_come_from_the_environment_too(monkeypatch: Env) -> None:
    monkeypatch.setenv("edge_agent__mqtt__tls__enabled", "true")
    assert load(None).mqtt.effective_port == 8883


def test_a_table_can_be_json_and_a_variable_of_its_own_outranks_it(monkeypatch: Env) -> None:
    monkeypatch.setenv("EDGE_AGENT__MQTT", '{"host": "json", "port": 7}')
    monkeypatch.setenv("EDGE_AGENT__MQTT__PORT", "8")
    monkeypatch.setenv("EDGE_AGENT__PLUGINS__ALLOW", '["face", "loudness"]')
    settings = parse("[mqtt]\nhost = 'file'\nkeepalive_s = 9", "c.toml")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.keepalive_s) == ("json", 8, 9)
    assert settings.plugins.allow == ("face", "loudness")


def test_a_plugins_options_come_from_both_and_merge(monkeypatch: Env) -> None:
    monkeypatch.setenv("EDGE_AGENT__ANALYZERS__BURST__HOP_S", "0.3")
    monkeypatch.setenv("EDGE_AGENT__ANALYZERS__BURST__LABELS", '["cough"]')
    monkeypatch.setenv("EDGE_AGENT__ANALYZERS__BURST__NOTE", "[not json")
    settings = parse("[analyzers.burst]\nhop_s = 0.2\nthresholds = { cough = 0.4 }", "c.toml")
    assert settings.analyzers == {
        "burst": {"hop_s": "0.3", "labels": ["cough"], "thresholds": {"cough": 0.4}, "note": "[not json"}
    }


def test_other_variables_are_none_of_our_business(monkeypatch: Env) -> None:
    monkeypatch.setenv("EDGE_AGENTS__MQTT__HOST", "x")
    monkeypatch.setenv("EDGE_AGENT_CONFIG", "/nowhere")
    monkeypatch.setenv("MQTT__HOST", "x")
    assert load(None).mqtt.host == "localhost"


def test_the_host_name_becomes_a_usable_id() -> None:
    assert Settings.model_fields["device"].default_factory is not None
    text = load(None).device.id
    assert parse(f"[device]\nid = '{text}'", "c.toml").device.id == text


# ---------------------------------------------------------------- the file and its errors


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: no such config file; 'edge-agent config init .*gone\.toml'"):
        load(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "[device]\nname = 'Küche'\n".encode("latin-1"),
            r"c.toml, line 2: must be UTF-8: convert it with 'iconv -f ISO",
        ),
        ("[device]\nname = 'x'\n".encode("utf-16"), "must be UTF-8 and looks like UTF-16: convert it with 'iconv"),
        ("[device]\nname = 'x'\n".encode("utf-16-le"), "must be UTF-8 and looks like UTF-16: convert it with 'iconv"),
    ],
)
def test_another_encoding_is_named_with_how_to_convert_it(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        read(file)


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path} is a folder: name the file in it"):
        read(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[mqtt]\nhost = 'x'", encoding="utf-8-sig")
    assert load(file).mqtt.host == "x"


def test_the_number_of_a_device_needs_no_quotes() -> None:
    settings = parse("[camera]\nsource = 0\n[microphone]\nsource = 2\n", "c.toml")
    assert (settings.camera.source, settings.microphone.source) == ("0", "2")


def test_a_source_that_cannot_be_understood_is_refused_with_its_line() -> None:
    text = '[microphone]\nsource = "none"\n[camera]\nsource = "rtsp://admin:pa[NotTelling1@cam/x"\n'
    with pytest.raises(ConfigError, match=r"^c.toml, line 4: camera.source: in the address \[ is written %5B$"):
        parse(text, "c.toml")


def test_home_is_looked_up_in_every_path(monkeypatch: Env) -> None:
    text = '[models]\ndir = "~/models"\n[web]\ntoken_file = "~/token"\n[device]\nstate_dir = "~/state"\n'
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = parse(text, "c.toml")
    assert settings.models.dir == Path("/home/somebody/models")
    assert settings.web.token_file == Path("/home/somebody/token")
    assert settings.device.state_dir == Path("/home/somebody/state")


def test_without_a_home_a_tilde_is_refused_in_one_line(monkeypatch: Env) -> None:
    text = '[camera]\nsource = "~nobody-of-that-name/x.mp4"\n[models]\ndir = "~nobody-of-that-name/models"\n'
    with pytest.raises(ConfigError) as raised:
        parse(text, "c.toml")
    assert [line.split(": ", 1)[0] for line in str(raised.value).splitlines()] == ["c.toml, line 2", "c.toml, line 4"]
    assert str(raised.value).count("there is no home folder to use for ~") == 2


def test_the_file_is_named_by_the_environment(monkeypatch: Env, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_AGENT_CONFIG", str(tmp_path / "c.toml"))
    assert default_path() == tmp_path / "c.toml"


def test_the_systems_file_is_used_when_it_is_there(tmp_path: Path) -> None:
    assert default_path(tmp_path / "config.toml") is None
    (tmp_path / "config.toml").touch()
    assert default_path(tmp_path / "config.toml") == tmp_path / "config.toml"


def test_a_closed_folder_is_not_taken_for_a_missing_file(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may enter every folder
    try:
        assert default_path(closed / "config.toml") == closed / "config.toml"
        with pytest.raises(ConfigError, match="may not be read by this user"):
            load(closed / "config.toml")
    finally:
        os.seteuid(user)


def test_bad_toml_names_the_line() -> None:
    assert wrong("[mqtt]\nhost = \n") == ["c.toml: not valid TOML: Invalid value (at line 2, column 8)"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[mqtt]\nhsot = 'x'", "c.toml, line 2: unknown key mqtt.hsot; did you mean 'host'?"),
        ("mqtt.hsot = 'x'", "c.toml, line 1: unknown key mqtt.hsot; did you mean 'host'?"),
        ("mqtt = { port = 1, 'hsot' = 'x' }", "c.toml, line 1: unknown key mqtt.hsot; did you mean 'host'?"),
        ("\n[mqtt.tls]\nenabeld = 1", "c.toml, line 3: unknown key mqtt.tls.enabeld; did you mean 'enabled'?"),
        ("# [mqqt]\n[mqqt]\n[camera]", "c.toml, line 2: unknown key mqqt; did you mean 'mqtt'?"),
        ("[mqqt.tls]", "c.toml, line 1: unknown key mqqt; did you mean 'mqtt'?"),
        (
            "[outbox]\nzzz = 1",
            "c.toml, line 2: unknown key outbox.zzz; known here: hold_s, max_age_days, max_mb",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(text: str, line: str) -> None:
    assert wrong(text) == [line]


@pytest.mark.parametrize("key", ["_env_file", "_env_prefix", "_case_sensitive", "__pydantic_self__", "self"])
def test_the_file_cannot_reach_the_settings_library_itself(key: str) -> None:
    (line,) = wrong(f"{key} = 'x'")
    assert line.startswith(f"c.toml, line 1: unknown key {key}; known here: analyzers, batch, camera")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[mqtt]\n\nport = 'x'", "c.toml, line 3: mqtt.port: must be a whole number without quotes, as port = 1"),
        ("[mqtt]\nport = 0", "c.toml, line 2: mqtt.port: Input should be greater than or equal to 1"),
        ("[plugins]\nallow = [\n 'a',\n 3,\n]", "c.toml, line 4: plugins.allow.1: must be text in quotes"),
        ("[mqtt]\npassword = 1234", 'c.toml, line 2: mqtt.password: must be text in quotes, as password = "…"'),
        ("[camera]\nloop = 'maybe'", "c.toml, line 2: camera.loop: must be true or false without quotes"),
        ("[camera]\nsource = true", "c.toml, line 2: camera.source: must be text in quotes"),
        ("[models]\ndir = 3", 'c.toml, line 2: models.dir: must be a path in quotes, as dir = "/…"'),
        ("[plugins]\nallow = 'face'", 'c.toml, line 2: plugins.allow: must be a list, as allow = ["…"]'),
        ("camera = 0", "c.toml, line 1: camera: must be a table: write [camera] and its options below"),
        ("[log]\nlevel = 'loud'", "c.toml, line 2: log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("[device]\nname = 'x'\nid = 'a b'", "c.toml, line 3: device.id: String should match"),
        ("\ndevice = 3", "c.toml, line 2: device: must be a table"),
        ("[[mqtt]]\nhost = 'x'", "c.toml, line 1: mqtt: must be a table"),
        ("[analyzers]\nburst = 3", "c.toml, line 2: analyzers.burst: must be a table"),
        ("[analyzers.Burst]", "c.toml, line 1: analyzers: 'Burst' is not a plugin name"),
        ("[pacing]\nmin_fps = 5\nmax_fps = 2", "c.toml, line 1: pacing: min_fps (5.0) is above max_fps (2.0)"),
        ("mqtt.tls.cert_file = 'x'", "c.toml, line 1: mqtt.tls: cert_file and key_file belong together"),
    ],
)
def test_a_bad_value_names_its_line_and_what_is_allowed(text: str, line: str) -> None:
    (found,) = wrong(text)
    assert found.startswith(line)


def test_all_problems_are_reported_at_once() -> None:
    lines = wrong("[mqqt]\n[mqtt]\nport = 0\nhsot = 'x'")
    assert sorted(line.split(":")[0] for line in lines) == ["c.toml, line 1", "c.toml, line 3", "c.toml, line 4"]


# ---------------------------------------------------------------- the environment and its errors


def test_an_unknown_section_in_the_environment_is_refused(monkeypatch: Env) -> None:
    monkeypatch.setenv("EDGE_AGENT__MQQT__HOST", "x")
    assert wrong("") == ["environment variable EDGE_AGENT__MQQT__HOST: unknown section 'mqqt'; did you mean 'mqtt'?"]


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("EDGE_AGENT__MQTT__HSOT", "x", "unknown key mqtt.hsot; did you mean 'host'?"),
        ("EDGE_AGENT__MQTT__TLS__ENABELD", "1", "unknown key mqtt.tls.enabeld; did you mean 'enabled'?"),
        ("edge_agent__mqtt__port", "x", "mqtt.port: must be a whole number"),
        ("EDGE_AGENT__MQTT", '{"port": -1}', "mqtt.port: Input should be greater than or equal to 1"),
        ("EDGE_AGENT__MQTT", "[1]", "mqtt: must be a table"),
        ("EDGE_AGENT__MQTT", '{"host":', "lists and tables are given as JSON"),
        ("EDGE_AGENT__PLUGINS__ALLOW", "face,burst", 'lists and tables are given as JSON, like \'["face"'),
        ("EDGE_AGENT__PLUGINS__ALLOW", '["face", 1]', "plugins.allow.1: must be text"),
    ],
)
def test_the_variable_is_blamed_not_the_file(monkeypatch: Env, variable: str, value: str, problem: str) -> None:
    monkeypatch.setenv(variable, value)
    (line,) = wrong("[mqtt]\nhost = 'x'\nport = 1\n[plugins]\nallow = []")
    assert line.startswith(f"environment variable {variable}: {problem}")


def test_the_file_is_blamed_for_its_own_value_beside_a_json_variable(monkeypatch: Env) -> None:
    monkeypatch.setenv("EDGE_AGENT__MQTT", '{"host": "x"}')
    (line,) = wrong("[mqtt]\nport = 0")
    assert line.startswith("c.toml, line 2: mqtt.port")


# ---------------------------------------------------------------- secrets


def test_two_passwords_exclude_each_other_wherever_they_stand(monkeypatch: Env) -> None:
    problem = "mqtt: password and password_file exclude each other: keep password_file"
    assert wrong("[mqtt]\npassword = 'a'\npassword_file = 'b'") == [f"c.toml, line 1: {problem}"]
    monkeypatch.setenv("EDGE_AGENT__MQTT__PASSWORD", "a")
    assert wrong("[mqtt]\npassword_file = 'b'") == [f"c.toml, line 1: {problem}"]
    monkeypatch.setenv("EDGE_AGENT__MQTT__PASSWORD_FILE", "b")
    both = "EDGE_AGENT__MQTT__PASSWORD and EDGE_AGENT__MQTT__PASSWORD_FILE"
    assert wrong("") == [f"environment variable {both}: {problem}"]


def test_a_password_is_in_no_error_and_no_print(monkeypatch: Env) -> None:
    secret = "canary-4711"
    for text in (
        f"[mqtt]\npassword = ['{secret}']",
        f"[mqtt]\npassword = '{secret}'\nport = 0",
        f"[mqtt]\npassword = '{secret}'\npassword_file = 'x'",
    ):
        assert secret not in "\n".join(wrong(text))
    settings = parse(f"[mqtt]\npassword = '{secret}'", "c.toml")
    assert secret not in f"{settings} {settings!r} {settings.model_dump_json()}"
    monkeypatch.setenv("EDGE_AGENT__MQTT", f'{{"password": "{secret}"')
    assert secret not in "\n".join(wrong(""))
