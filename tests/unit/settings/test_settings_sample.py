"""The commented config file: complete, and right as soon as the comments are taken away."""

from __future__ import annotations

import re
import tomllib
from typing import Literal

from pydantic import Field, SecretStr

from edge_agent.plugin import AnalyzerSettings
from edge_agent.settings import Settings, load, parse
from edge_agent.settings.reference import reference, sample, tables


class Inner(AnalyzerSettings):
    """A table in a table."""

    depth: int = Field(default=2, description="How deep.")


class Example(AnalyzerSettings):
    """Kinds of options that plugins have.

    Only the first line is a title.
    """

    labels: tuple[Literal["a", "b"], ...] = Field(default=("a",), description="Some of a | b.")
    levels: dict[str, float] = Field(default={"x": 0.5}, description="A small table.")
    key: SecretStr | None = Field(default=None, description="A secret.")
    note: str = Field(default='say "hi"\\', description="A text that needs quoting. " * 10)
    inner: Inner = Inner()


ANALYZERS = {"zebra": Inner, "example": Example}
OPTION = re.compile(r"#([a-z_]+ = .*)")


def uncommented(text: str) -> str:
    """The file with every option that has a default switched on."""
    lines = (OPTION.sub(r"\1", line) for line in text.splitlines())
    return "\n".join(line for line in lines if not line.endswith(" = …"))


def test_the_sample_as_written_is_valid_and_all_comments() -> None:
    text = sample(Settings, ANALYZERS)
    assert parse(text.replace("[analyzers.", "#[analyzers."), "sample.toml").model_dump() == load(None).model_dump()


def test_every_default_can_be_switched_on_and_changes_nothing() -> None:
    text = uncommented(sample(Settings, {}))
    settings, defaults = parse(text, "sample.toml"), load(None)
    assert settings.model_dump() == defaults.model_dump()
    assert len(tomllib.loads(text)["mqtt"]) > 5


def test_options_of_analyzers_are_in_it_with_their_sub_tables() -> None:
    found = tomllib.loads(uncommented(sample(Settings, ANALYZERS)))["analyzers"]
    assert Example.model_validate(found["example"]) == Example()
    assert found["example"]["inner"] == {"enabled": True, "depth": 2}
    assert list(found) == ["example", "zebra"]


def test_every_option_is_in_the_sample_and_in_the_reference() -> None:
    text, page = sample(Settings, ANALYZERS), reference(Settings, ANALYZERS)
    count = 0
    for table in tables(Settings, ANALYZERS):
        assert f"\n[{table.path}]\n" in text
        assert f"## `[{table.path}]`" in page
        for option in table.options:
            assert f"\n#{option.name} = " in text
            assert f"| `{option.name}` |" in page
            count += 1
    assert count > 40


def test_every_option_is_explained() -> None:
    silent = [
        f"{table.path}.{option.name}"
        for table in tables(Settings, ANALYZERS)
        for option in table.options
        if not option.meaning
    ]
    assert silent == []


def test_the_reference_stays_a_table_whatever_a_description_holds() -> None:
    page = reference(Settings, ANALYZERS)
    row = [line for line in page.splitlines() if line.startswith("| `labels`")][-1]  # the analyzer's
    assert "Some of a \\| b." in row
    assert row.count(" | ") == 2


def test_no_line_of_it_is_too_long_to_read() -> None:
    assert max(len(line) for line in sample(Settings, ANALYZERS).splitlines() if " = " not in line) <= 112
