"""The broker's address and the topic prefixes: what is understood, what is refused, and what is said then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.domain.errors import ConfigError
from edge_agent.settings import MqttSettings, Settings, parse
from edge_agent.settings.mqtt import topic_prefix, with_address


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "broker.local",
        "my_broker",
        "192.0.2.7",
        "::1",
        "2001:db8::7",
        "fe80::1%eth0",
        "b",
        "mqtt",
        "1and1.de",
    ],
)
def test_names_and_addresses_are_taken_as_they_are(host: str) -> None:
    assert MqttSettings(host=host).host == host


def test_a_name_in_another_script_is_looked_up_in_ascii() -> None:
    assert MqttSettings(host="bücher.example").host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("mqtt://h", 'write host = "h" in'),
        ("MQTTS://h", 'write host = "h", tls.enabled = true in'),
        ("h:1883", 'write host = "h", port = 1883 in'),
        ("mqtt:1883", 'write host = "mqtt", port = 1883 in'),
        ("tcp:h", 'write host = "h" in'),
        ("mqtt:/h", 'write host = "h" in'),
        ("[::1]", 'write host = "::1" in'),
        ("[::1]:1884", 'write host = "::1", port = 1884 in'),
        ("mqtt://[fe80::1%eth0]:1883/", 'write host = "fe80::1%eth0", port = 1883 in'),
        (" localhost ", 'write host = "localhost" in'),
        ("h\n", 'write host = "h" in'),
        ("ws://h:9001/mqtt", 'host = "h", port = 9001, transport = "websockets", websocket_path = "/mqtt"'),
        ("wss://h", 'host = "h", tls.enabled = true, transport = "websockets" in'),
        ("h.", 'write host = "h" in'),
        ("h/", 'write host = "h" in'),
        ("192.0.2.7/24", 'write host = "192.0.2.7" in'),
        ("h:99999", "port = 1 to 65535"),
        ("mqtt://h:abc", "port = 1 to 65535"),
        ("user:pw@h", 'write host = "h", username and password_file in'),
        ("", "name or address, as"),
        ("   ", "name or address, as"),
        *(
            (bad, "is not a host name or address")
            for bad in ("[", "a..b", "1883", "127.1", "0x7f000001", "300.1.1.1", "-a.b")
        ),
        *(
            (bad, "is not a host name or address")
            for bad in ("a b", "h\0", "h,h2", "'h'", "\\\\h", "mqtt://", 64 * "a")
        ),
    ],
)
def test_whatever_else_people_write_is_refused_with_what_to_write_instead(host: str, advice: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MqttSettings(host=host)
    message = caught.value.errors()[0]["msg"]
    assert advice in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url", ["mqtt://u:s3cret@h:1", "u:s3c/s3cret@h", "mqtt://u:s3cret@", "h?password=s3cret=", "@s3cret@["]
)
def test_no_advice_repeats_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'[mqtt]\nhost = "{url}"\n', "config")
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith("config, line 2: mqtt.host: ")


@given(st.text(max_size=40))
def test_a_host_that_is_taken_is_one_that_can_be_looked_up_as_it_is(text: str) -> None:
    try:
        host = MqttSettings(host=text).host
    except ValidationError:
        return
    assert host.isascii()
    assert not set(host) & set(" /@?#[]\\\"'\n\t\0")
    assert MqttSettings(host=host).host == host


def test_a_command_line_names_another_broker_under_the_same_rules() -> None:
    settings = MqttSettings(host="a", port=1884, username="u", transport="websockets")
    assert with_address(settings) == settings
    other = with_address(settings, "b", 1885)
    assert (other.host, other.port, other.username, other.transport) == ("b", 1885, "u", "websockets")
    with pytest.raises(ConfigError, match=r'^--host: .*write host = "b", port = 1883'):
        with_address(settings, "mqtt://b:1883")
    with pytest.raises(ConfigError, match=r"^--port: .*65535"):
        with_address(settings, None, 70_000)


def test_default_ports_follow_transport_and_tls() -> None:
    def port(transport: str, tls: bool) -> int:
        return MqttSettings(transport=transport, tls={"enabled": tls}).effective_port

    assert [port("tcp", False), port("tcp", True), port("websockets", False), port("websockets", True)] == [
        1883,
        8883,
        80,
        443,
    ]


@pytest.mark.parametrize("path", ["mqtt", "", "/a b", "/ü", "/x\r\nHost: y"])
def test_websocket_paths_cannot_leave_the_request_line(path: str) -> None:
    with pytest.raises(ValidationError, match="must be a path"):
        MqttSettings(websocket_path=path)


@pytest.mark.parametrize(
    ("written", "prefix"),
    [("home/edge/", "home/edge"), ("a//", "a"), ("a", "a"), ("a/$b", "a/$b"), ("Büro", "Büro")],
)
def test_slashes_at_the_end_of_a_prefix_are_dropped_everywhere(written: str, prefix: str) -> None:
    settings = Settings(mqtt={"prefix": written}, home_assistant={"prefix": written})
    assert (settings.mqtt.prefix, settings.home_assistant.prefix) == (prefix, prefix)


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("/a", 'write "a"'),
        ("a//b", 'write "a/b"'),
        ("a/+", "wildcards"),
        ("a/#", "wildcards"),
        ("$SYS", "belong to the broker"),
        ("$share/g/a", "belong to the broker"),
        ("", "first level"),
        ("/", "first level"),
        ("a b", "spaces"),
        ("a\0", "control"),
        ("a\x85", "control"),
        ("a\ufffe", "control"),
        ("a" * 201, "longer"),
    ],
)
def test_what_cannot_begin_a_topic_is_refused_everywhere(prefix: str, reason: str) -> None:
    for table in ("mqtt", "home_assistant"):
        with pytest.raises(ValidationError, match=reason):
            Settings(**{table: {"prefix": prefix}})


@given(st.text(max_size=30))
def test_a_prefix_that_is_taken_stays_as_it_is_and_holds_no_empty_level(text: str) -> None:
    try:
        prefix = topic_prefix(text)
    except ValueError:
        return
    assert topic_prefix(prefix) == prefix
    assert all(prefix.split("/"))
    assert not set(prefix) & set("+#\0 ")


@pytest.mark.parametrize("field", ["username", "client_id"])
def test_control_characters_are_not_sent_to_the_broker(field: str) -> None:
    with pytest.raises(ValidationError, match="control characters"):
        MqttSettings(**{field: "a\0b"})


def test_several_brokers_share_all_options_but_the_address() -> None:
    mqtt = MqttSettings(
        hosts=("bücher.example", "192.0.2.7:8884", "[2001:db8::7]:1", "2001:db8::8"), tls={"enabled": True}
    )
    assert [(b.host, b.effective_port) for b in mqtt.brokers] == [
        ("xn--bcher-kva.example", 8883),
        ("192.0.2.7", 8884),
        ("2001:db8::7", 1),
        ("2001:db8::8", 8883),
    ]
    assert all(b.tls.enabled and b.brokers == (b,) for b in mqtt.brokers)
    assert mqtt.brokers[2].address == "[2001:db8::7]:1"
    assert MqttSettings(hosts=("a", "b:1"), port=2000).brokers[0].effective_port == 2000
    assert MqttSettings(host="a").brokers == (MqttSettings(host="a"),)
    assert Settings(mqtt={"hosts": ["a"]}).mqtt.brokers[0].host == "a"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('host = "a"\nhosts = ["a", "b"]', "host and hosts exclude each other"),
        ('hosts = ["a", "a:1883"]', "names a:1883 twice"),
        ('hosts = ["mqtt://a"]', 'write ["broker-1.local"'),
        ('hosts = ["user:pw@a"]', 'write ["broker-1.local"'),
        ('hosts = ["a:0"]', "1 to 65535"),
        ('hosts = ["a:99999"]', "1 to 65535"),
        ('hosts = ["a:"]', "1 to 65535"),
        ('hosts = ["[::1"]', 'write ["broker-1.local"'),
        ('hosts = [""]', 'write ["broker-1.local"'),
        ("hosts = [5]", "text in quotes"),
        ('hosts = "a"', "list"),
        ("hosts = [" + ", ".join(f'"h{n}"' for n in range(17)) + "]", "16"),
        ("return_s = 0", "1"),
    ],
)
def test_a_list_of_brokers_that_cannot_be_used_is_refused_in_one_line(lines: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"[mqtt]\n{lines}", "config.toml")
    assert complaint in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "pw" not in str(refused.value)


def test_a_command_line_names_one_broker_instead_of_several() -> None:
    several = MqttSettings(hosts=("a:1", "b"), username="u")
    assert with_address(several) is several
    assert [(b.host, b.effective_port) for b in with_address(several, "c", 5).brokers] == [("c", 5)]
    assert [(b.host, b.effective_port) for b in with_address(several, port=5).brokers] == [("a", 5)]
