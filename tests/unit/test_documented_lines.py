"""The table of documented lines is read from the marks of tests, which cannot be forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.compat import Shell, documented, table


def test_lines_of_tests_become_a_table(tmp_path: Path) -> None:
    (tmp_path / "test_services.py").write_text(
        "@pytest.mark.documented('Flask', 'curl -X POST \\\\\\n   a | b')\ndef test_a(): ...\n"
        "@pytest.mark.documented('Echo', 'one', differs='another shape')\n"
        "@pytest.mark.documented('Echo', 'two')\ndef test_b(): ...\n"
        "@pytest.mark.xfail(strict=True, reason='no model')\n"
        "@pytest.mark.documented('Echo', 'three')\ndef test_c(): ...\n"
        "def helper(): ...\n"
    )
    rows = table(documented(tmp_path)).splitlines()[2:]
    assert rows == [
        "| Echo | `one` | ◐ another shape | `test_services.py::test_b` |",
        "| Echo | `two` | ✔ | `test_services.py::test_b` |",
        "| Echo | `three` | ✘ no model | `test_services.py::test_c` |",
        "| Flask | `curl -X POST a \\| b` | ✔ | `test_services.py::test_a` |",
    ]


def test_a_test_without_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text("def test_a(): ...\n")
    with pytest.raises(ValueError, match=r"test_more\.py::test_a"):
        documented(tmp_path)


def test_only_host_and_token_are_changed(tmp_path: Path) -> None:
    shell = Shell(1234, "secret", tmp_path, prefix="/flask")
    assert shell.here("new WebSocket('ws://localhost:8000/ws/emotion')") == (
        "new WebSocket('ws://127.0.0.1:1234/flask/ws/emotion?token=secret')"
    )
    assert shell.here('curl "http://127.0.0.1:5000/x?y=1" # http://other:80/') == (
        'curl "http://127.0.0.1:1234/flask/x?y=1" # http://other:80/'
    )
