"""The catalogue: what the shipped one promises, and what a catalogue may not say."""

from __future__ import annotations

import hashlib

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelEntry, ModelFile

CONTENT = b"a model"
FILE = ModelFile(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def test_shipped_entries_can_be_had_from_somewhere() -> None:
    entries = {entry.name: entry for entry in Catalogue.load()}
    assert {"blazeface-short", "blazeface-full", "yamnet"} <= set(entries)
    for entry in entries.values():
        url = entry.archive.url if entry.archive else entry.url
        assert entry.bundled or (url and url.startswith("https://"))
        assert entry.licence == "Apache-2.0" or (entry.named_only and entry.provenance)
        assert entry.title


def test_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ModelError, match="no model called 'blazeface-shrot'; did you mean 'blazeface-short'"):
        Catalogue.load()["blazeface-shrot"]
    with pytest.raises(ModelError, match="known: blazeface-full, "):
        Catalogue.load()["x"]


def test_content_is_accepted_by_size_and_hash_only() -> None:
    entry = ModelEntry("m", "title", "Apache-2.0", (FILE,))
    assert entry.accepts(CONTENT)
    assert entry.describe_mismatch(CONTENT[:-1]) == "it has 6 bytes instead of 7"
    assert "sha256" in (entry.describe_mismatch(b"A model") or "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[models", "not valid TOML"),
        ("[models.m]\ntitle='t'\nlicence='l'", "entry 'm': 'files'"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[]", "accepts no file"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[{sha256='00', bytes=1}]", "needs a lower-case sha256"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[FILE]\nuri='x'", "unexpected keyword argument 'uri'"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[FILE]\nbundled='p:f'\nurl='https://x'", "another source"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[FILE]\nurl='file:///x'", "url must begin with https://"),
        ("[models.m]\ntitle='t'\nlicence='l'\nfiles=[FILE]\nbundled='file'", "must be 'package:file'"),
    ],
)
def test_malformed_catalogue_names_the_entry(text: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Catalogue.parse(text.replace("FILE", f"{{sha256='{FILE.sha256}', bytes={FILE.bytes}}}"))
