"""Lines of keys in TOML text, for errors."""

from __future__ import annotations

import time
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.settings.loader import find_line

QUICK = settings(max_examples=60)

TRICKY = '''\
# [mqtt]  a comment is no table
title = "a # b = [c]"
[mqtt]   # comment
host = "a]b"
tls.enabled = true
"quoted.key" = 1
'lit' = 2
text = """
[not.a.table]
x = 1
"""
[plugins]
allow = [
  "a",  # [x]
  "b",

  [1, 2],
  { k = 1, j.l = 2 },
]
[[list.of]]
a = 1
[[list.of]]
a = 2
[list.of.sub]
when = 1979-05-27 07:32:00
quotes = """a""\\""""""
pi = 3.14
[ spaced . "x y" . 'l' ]
k=1
'''


def test_a_long_file_is_searched_at_once() -> None:
    text = "".join(f"# about option {n} of many\n[t{n}]\nkey = {n}\n" for n in range(2_000))
    begin = time.monotonic()
    assert find_line(text, ("t1999", "key")) == 6_000
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("title", 2),
        ("mqtt", 3),
        ("mqtt.host", 4),
        ("mqtt.tls", 5),
        ("mqtt.tls.enabled", 5),
        ("mqtt.lit", 7),
        ("mqtt.text", 8),
        ("plugins.allow", 13),
        ("plugins.allow.0", 14),
        ("plugins.allow.1", 15),
        ("plugins.allow.2.1", 17),
        ("plugins.allow.3.j.l", 18),
        ("list.of.0.a", 21),
        ("list.of.1", 22),
        ("list.of.1.a", 23),
        ("list.of.1.sub.when", 25),
        ("list.of.1.sub.pi", 27),
        ("spaced", 28),
        ("spaced.x y.l.k", 29),
    ],
)
def test_every_way_to_write_a_key_is_found(path: str, line: int) -> None:
    assert tomllib.loads(TRICKY)
    assert find_line(TRICKY, tuple(path.split("."))) == line


def test_a_quoted_dot_is_part_of_the_key() -> None:
    assert find_line(TRICKY, ("mqtt", "quoted.key")) == 6


def test_what_is_not_there_is_found_by_the_table_around_it() -> None:
    assert find_line(TRICKY, ("mqtt", "port")) == 3
    assert find_line(TRICKY, ("mqtt", "tls", "ca_file")) == 5


def test_what_stands_nowhere_has_no_line() -> None:
    assert find_line(TRICKY, ("camera", "fps")) is None
    assert find_line("", ("camera",)) is None
    assert find_line(TRICKY, ()) is None


def test_an_implied_table_is_found_in_the_header_of_its_sub_table() -> None:
    assert find_line("\n[mqqt.tls]\nenabled = true\n", ("mqqt",)) == 2


def test_the_same_name_in_another_table_is_not_taken() -> None:
    text = "[camera]\nfps = 5\n[microphone]\n[mqtt]\nfps = 3\n"
    assert find_line(text, ("mqtt", "fps")) == 5
    assert find_line(text, ("microphone", "fps")) == 3


def test_line_ends_of_windows_count_as_one() -> None:
    assert find_line("[mqtt]\r\nhost = 'x'\r\nport = 1\r\n", ("mqtt", "port")) == 3


NO_TOML = ["[", "a = [", "a = {", "= 3", "]]]", '"""', "a.b.", "{}{}[[[", "a = ]\nb = 1", "\0 = 1"]


@pytest.mark.parametrize("text", NO_TOML)
def test_text_that_is_no_toml_does_no_harm(text: str) -> None:
    assert find_line(text, ("b",)) is None
    assert find_line(f"[b]\n{text}", ("b",)) in (1, None)


@QUICK
@given(st.text(alphabet="ab.=[]{}\"'\n#,\\ 1", max_size=60))
def test_no_text_makes_it_fail_or_hang(text: str) -> None:
    assert find_line(text, ("a", "b")) in (None, *range(1, text.count("\n") + 2))


KEYS = st.text(alphabet='ab." é-', min_size=1, max_size=4)
DOCUMENTS = st.recursive(
    st.dictionaries(KEYS, st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3), max_size=4),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@QUICK
@given(DOCUMENTS)
def test_every_key_of_tomllib_has_a_line(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    assert all(find_line(text, path) for path in _paths(tomllib.loads(text)))


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        members = [((*path, key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        members = [((*path, str(n)), inner) for n, inner in enumerate(value)]
    else:
        members = []
    return [p for p, _ in members] + [deeper for p, inner in members for deeper in _paths(inner, p)]
