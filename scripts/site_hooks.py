"""Hooks of mkdocs: pages of the repository outside of docs/ that docs/ links to become pages of the site.

A link to ``../plugins/edge_agent_face/MODEL_CARD.md`` works in a checkout and on a forge; on the site the file is found
at ``repository/plugins/edge_agent_face/MODEL_CARD.md``, and so is what it links to itself.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OUTSIDE = "repository/"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)(#[^)\s]*)?\)")
PAGES = {".md"}
ASSETS = {".svg", ".png", ".toml", ".yaml", ".json", ".conf"}


def on_files(files: Files, config: Any) -> Files:
    """Add every file outside of docs/ that is reached by links."""
    found: dict[str, Path] = {}
    waiting = [DOCS / file.src_uri for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = _target(page, match[2])
            if target is None or target.is_relative_to(DOCS) or _uri(target) in found:
                continue
            found[_uri(target)] = target
            if target.suffix in PAGES:
                waiting.append(target)
    for uri, path in found.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to where the site has their target; what it has not becomes plain text."""
    here = page.file.src_uri
    source = ROOT / here.removeprefix(OUTSIDE) if here.startswith(OUTSIDE) else DOCS / here

    def moved(match: re.Match[str]) -> str:
        target = _target(source, match[2])
        if target is None:
            gone = not re.match(r"[a-z]+:", match[2]) and not (source.parent / match[2]).exists()
            inside = re.match(r"[a-z]+:", match[2])
            return match[0] if gone or inside else match[1].lstrip("!").removeprefix("[").removesuffix("](")
        uri = posixpath.relpath(_uri(target), posixpath.dirname(here) or ".")
        return f"{match[1]}{uri}{match[3] or ''})"

    return LINK.sub(moved, markdown)


def _target(page: Path, link: str) -> Path | None:
    """The file of the repository that ``link`` on ``page`` means, if the site can show it; of a folder, its README."""
    if re.match(r"[a-z]+:", link):
        return None
    path = (page.parent / link).resolve()
    if path.is_dir():
        path /= "README.md"
    known = path.suffix in PAGES | ASSETS and path.is_file() and path.is_relative_to(ROOT)
    return path if known else None


def _uri(path: Path) -> str:
    """Address on the site, relative to its root."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return OUTSIDE + path.relative_to(ROOT).as_posix()
