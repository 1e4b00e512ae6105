"""Links, paths and modules that the documentation names exist."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "prompt_jax/clip").glob("*/README.md")),
    *sorted((REPOSITORY / "notebooks").glob("*.ipynb")),
]
# A path from the root of the repository.
PATH = re.compile(r"\b(?:prompt_jax|data_pipelines|experiments|tests|notebooks|docs)/[\w./]*")
MODULE = re.compile(r"\bpython -m ((?:prompt_jax|data_pipelines|experiments|tests)[\w.]*)")
# A renamed file, and one that the documentation shows how to add.
ABSENT = {"notebooks/own_pictures.ipynb", "prompt_jax/methods/images/residual.py"}


def read_text(path: Path) -> str:
    """Returns a page's text; of notebooks the texts of their cells, with real line breaks."""
    text = path.read_text(encoding="utf-8")
    return text.replace("\\n", "\n") if path.suffix == ".ipynb" else text


def find_anchors(path: Path) -> set[str]:
    """Returns the anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", read_text(path), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_and_paths_exist(page):
    text = read_text(page)
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in find_anchors(file)):
            missing.append(target)
    for name in set(PATH.findall(text)) - ABSENT:
        placeholder = re.search("[A-Z]", name.replace("README", ""))
        if not placeholder and not (REPOSITORY / name.rstrip("./")).exists():
            missing.append(name)
    for name in MODULE.findall(text):
        place = REPOSITORY / name.rstrip(".").replace(".", "/")
        if not (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()):
            missing.append(name)
    assert not missing


def test_links_and_anchors_are_recognized(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A CLIP's `files`: 1\n```bash\n# no title\n```\n## Next step\n")
    assert find_anchors(page) == {"a-clips-files-1", "next-step"}
