"""README is short, its code prints what it says, and its pictures are drawn by rule."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.iterations import Predictions
from experiments.reproduce import published_tables
from prompt_jax.clip.checkpoints.hub import HUB_IDS
from prompt_jax.clip.config import VARIANTS

REPOSITORY = Path(__file__).parents[2]
for folder in ("docs", "notebooks"):
    sys.path.insert(0, str(REPOSITORY / folder))
import architecture_figure  # noqa: E402
import iterations_figure  # noqa: E402
import set_up  # noqa: E402

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ADDRESS = "https://github.com/somebody/prompt_jax"


def test_it_is_short():
    assert len(TEXT.split()) <= 900


def test_it_links_pages_once_and_leads_to_all():
    linked = re.findall(r"\]\((docs/\w+\.md)", TEXT)
    assert sorted(set(linked)) == sorted(linked)
    ways, reached = [REPOSITORY / name for name in linked], set()
    while ways:
        page = ways.pop()
        if page.parent.name == "docs" and page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([\w/.]+\.md)", page.read_text(encoding="utf-8"))
            ways += [(page.parent / link).resolve() for link in links]
    assert reached >= set((REPOSITORY / "docs").glob("*.md"))


def test_its_lines_print_what_it_says(capsys):
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    printed = [
        int(one) for one in re.findall(r"^(\d+) of 100 right$", capsys.readouterr().out, re.M)
    ]
    said = [int(one) for one in re.findall(r"`(\d+) of 100 right`", TEXT)]
    # Other processors and versions of JAX round otherwise.
    assert len(said) == 2 and np.abs(np.subtract(printed, said)).max() <= 3


def test_its_commands_have_configs_and_fields():
    script = TEXT.replace("\\\n", " ")
    commands = re.findall(r"^\./run\.sh --config=(\S+)\.py:(\w+) (.*)", script, re.M)
    [table] = re.findall(r"^python -m experiments.reproduce (\S+)", script, re.M)
    assert len(commands) == 3 and published_tables.find(table).rows
    for file, name, rest in commands:
        config = importlib.import_module(file.replace("/", ".")).get_config(name)
        for field, value in (flag.split("=") for flag in rest.split()):
            given = (int(value),) if field.endswith("shots_list") else value
            config.update_from_flattened_dict({field.removeprefix("--config."): given})
        assert config.method == name and config.data.root == field_of(rest, "data.root")


def field_of(flags: str, name: str) -> str:
    """Returns the value of a flag."""
    return re.search(rf"--config\.{name}=(\S+)", flags)[1]


def test_its_figures_are_those_of_the_pages():
    [part] = re.findall(r"## Why\n(.*?)\n## ", TEXT, re.DOTALL)
    pages = [REPOSITORY / name for name in re.findall(r"\]\((docs/\w+\.md)\)", part)]
    pages = [
        page.read_text(encoding="utf-8") for page in (*pages, REPOSITORY / "docs/comparison.md")
    ]
    figures = re.findall(r"\d[\d,]*\.\d+|\d+,\d{3}", "\n".join(re.findall(r"^\|.*", part, re.M)))
    assert len(figures) >= 20
    for figure in figures:
        assert any(re.search(rf"\b{figure}\b", page) for page in pages), figure


def test_what_depends_on_the_published_address_is_written():
    assert set_up.rewrite(TEXT, set_up.repository()) == TEXT
    published = set_up.rewrite(TEXT, ADDRESS)
    assert f"git+{ADDRESS}'" in published
    colab = "https://colab.research.google.com/github/somebody/prompt_jax/blob/main/notebooks/"
    [notebook] = re.findall(rf"\]\({colab}(.*?)\)", published)
    assert (REPOSITORY / "notebooks" / notebook).is_file()
    assert set_up.rewrite(published, set_up.repository()) == TEXT
    assert "colab.research" not in set_up.rewrite(TEXT, "https://example.org/prompt_jax")
    with pytest.raises(SystemExit, match="0 parts begin with <!-- install -->"):
        set_up.rewrite("# Another text", ADDRESS)


def test_the_page_of_backbones_has_the_named_ones():
    page = (REPOSITORY / "docs/backbones.md").read_text(encoding="utf-8")
    for name, sizes in VARIANTS.items():
        row = (
            f"| `{name}` | `{HUB_IDS[name]}` | {sizes.image_size}, {sizes.patch_size} "
            f"| {sizes.image_layers}, {sizes.image_width:,} "
            f"| {sizes.text_layers}, {sizes.text_width:,} | {sizes.embed_dim:,} |"
        )
        assert row in page
        assert f"`{name}`" in TEXT


def test_images_are_chosen_by_their_groups_medians():
    last = [0.9, 0.6, 0.7, 0.2, 0.1]  # the probabilities of the labels
    first = [0.2, 0.8, 0.3, 0.4, 0.9]
    both = np.array([[[p, 1 - p] for p in probabilities] for probabilities in (first, last)])
    predictions = Predictions(both, np.zeros(5, int))
    chosen = iterations_figure.choose(predictions)
    assert chosen == {
        "corrected": (2, 0),  # images 0 and 2, by last probability 2 and 0
        "right before and after": (1, 1),
        "wrong before and after": (1, 3),
        "made wrong": (1, 4),
    }
    assert iterations_figure.likeliest(np.array([[0.1, 0.6, 0.3], [0.8, 0.1, 0.1]]), 2) == [2, 0, 1]


def test_the_pictures_have_the_sizes_of_their_scripts(tmp_path):
    bars = {"kiwi": [0.1, 0.5, 0.8], "lion": [0.9, 0.5, 0.2]}
    panel = iterations_figure.Panel("corrected", Image.new("RGB", (48, 48)), "kiwi", bars)
    iterations_figure.draw([panel] * 2, tmp_path / "iterations.png")
    architecture_figure.draw(tmp_path / "architecture.png")
    for name in ("iterations.png", "architecture.png"):
        with Image.open(tmp_path / name) as drawn, Image.open(REPOSITORY / "docs" / name) as kept:
            assert drawn.size == kept.size
