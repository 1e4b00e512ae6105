"""Hooks of mkdocs: the README is the first page; links to code lead to the published repository."""

import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the README as index.md, with links relative to docs/."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?![a-z]+:|#|docs/)", "](../", text)
    text = text.replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replaces links that leave docs/: the README is the first page, all others are files."""
    del page, config, files
    code: list[str] = []

    def keep(match: re.Match) -> str:
        code.append(match[0])
        return f"\0{len(code) - 1}\0"

    text = LINK.sub(_outside, CODE.sub(keep, markdown))
    return re.sub("\0(\\d+)\0", lambda match: code[int(match[1])], text)


def _outside(match: re.Match) -> str:
    words, target = match.groups()
    if not target.startswith("../"):
        return match[0]
    path = target.removeprefix("../")
    if path.partition("#")[0] == "README.md":
        return f"[{words}](index.md{path.removeprefix('README.md')})"
    if not (REPOSITORY / path.partition("#")[0]).exists():
        return match[0]  # a strict build reports it
    source = _source()
    return f"[{words}]({source}/blob/main/{path})" if source else words


def _source() -> str:
    """Returns the address of the published repository; "" until it is set."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Source", "")
