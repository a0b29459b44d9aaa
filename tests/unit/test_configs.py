"""The sample configurations can be used as they are: every key known, every plugin's table accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.app.builder import PipelineBuilder
from edge_agent.plugin.manager import Status
from edge_agent.settings import parse, read
from tests.support.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "config"


@pytest.mark.parametrize("name", ["edge-agent", "home-assistant", "kiosk", "minimal"])
def test_sample(name: str) -> None:
    text = read(SAMPLES / f"{name}.toml")
    builder = PipelineBuilder(text, text.settings())
    assert [r.detail for r in builder.plugins.reports() if r.status is Status.CONFIG_ERROR] == []
    unknown = [table for table in text.settings().analyzers if table not in builder.plugins.analyzer_settings()]
    assert unknown == []


def test_there_is_no_untested_sample() -> None:
    assert {path.stem for path in SAMPLES.glob("*.toml")} == {"edge-agent", "home-assistant", "kiosk", "minimal"}


def test_the_kiosk_config_has_its_documented_settings() -> None:
    settings = read(SAMPLES / "kiosk.toml").settings()
    assert settings.microphone.source == "none"
    assert settings.mqtt.tls.enabled
    assert settings.mqtt.effective_port == 8883
    assert settings.mqtt.password is None


def test_every_config_in_the_documentation_can_be_used() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [(page, block) for page in pages for block in blocks(page) if block.language == "toml"]
    assert len(found) >= 14
    for page, block in found:
        parse(block.text, f"{page.relative_to(ROOT)} (block in line {block.line})")
