"""Figures show any names literally: no text is markup, and none makes a figure fail."""

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.figures import classes, plots, style
from experiments.record.files.confusions import Confusion
from experiments.report import curves
from prompt_jax.errors import escape

ROOT = Path(__file__).parents[2]
TEX = r"costs $5 or $\frac{a}$ of _a_^b"
# Any text: lone surrogates, control characters, every script.
anything = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=30)


def texts_of(path: Path) -> set[str]:
    """Returns the texts of an SVG file; raises if it is not well-formed."""
    svg = ElementTree.parse(path).getroot()
    return {text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")}


def draw_all(folder: Path, name: str) -> dict[str, set[str]]:
    """Draws every kind of figure with a name in every place; returns the texts of each."""
    image, other = Image.new("RGB", (8, 8)), f"{name}, too"
    counted = Confusion({(name, name): 3, (name, other): 2, (other, other): 1})
    made = {
        "iterations": plots.plot_iterations(
            folder / "iterations.png", {name: [[1.0, 2.0]]}, {name: {name: 3.0}}, name, name
        ),
        "bars": plots.plot_bars(
            folder / "bars.png", {name: {name: (1.0, 0.5, 2.0)}, other: {}}, name, name
        ),
        "curves": plots.plot_curves(
            folder / "curves.png", {name: [(1.0, 2.0, None)]}, {name: [(1.0, 3.0)]}, name, name
        ),
        "strips": plots.plot_strips(folder / "strips.png", [(name, [image])], name),
        "predictions": plots.plot_predictions(
            folder / "predictions.png", [(image, name, {name: [0.1, 0.9], other: [0.9, 0.1]})], name
        ),
        "confusion": plots.plot_confusion(folder / "confusion.png", classes.worst(counted), name),
        "features": plots.plot_features(
            folder / "features.png", {f"{name}\nbelow": np.eye(2)}, [name, other], name
        ),
    }
    return {kind: texts_of(paths[1]) for kind, paths in made.items()}


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything)
@example(TEX)
@example("_nolegend_")
@example("\udcff\x00\x1b[2J العربية हिन्दी ‮x")
@example("x" * 9000)
@example("</text><script>alert(1)</script>-->")
def test_any_name_is_drawn(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("drawn")
    drawn = draw_all(folder, name)
    assert len(drawn) == 7
    assert all(texts for texts in drawn.values())


@settings(max_examples=20, deadline=None)
@given(anything)
@example(TEX)
@example("_hidden")
def test_any_name_is_drawn_on_a_page(name):
    svg = curves.draw({name: [(1, 2.0)], f"{name}, too": [(1, 1.0)]}, "loss")
    root = ElementTree.fromstring(svg.replace("xlink:", ""))
    message = {text.text for text in root.iter() if text.text and text.text.strip()}
    if len(name) < 20 and escape(name).split() == [name]:
        assert {name, f"{name}, too"} <= {one.strip() for one in message}


@given(anything, st.integers(5, 60))
def test_any_text_can_be_drawn(text, width):
    """Tests characters that XML or UTF-8 lacks, and very long lines."""
    for found in (style.wrap(text, width), style.label(text)):
        assert all(c.isprintable() or c in "\n\u200c\u200d" for c in found)
        assert max(map(len, found.split("\n"))) <= max(width, 61) and found.count("\n") < 6
        found.encode()
    assert style.label(text)[0] != "_"


def test_dollars_are_drawn_literally(tmp_path):
    [_, svg] = plots.plot_bars(
        tmp_path / "a.png", {"$5 or $6": {"$x^2$": (1.0, None, None)}}, "$\\q$"
    )
    assert {"$5 or $6", "$x^2$", "$\\q$"} <= texts_of(svg)


def test_names_with_a_leading_underscore_are_in_the_legend(tmp_path):
    [_, svg] = plots.plot_curves(tmp_path / "a.png", {"_a": [(1.0, 2.0, None)]}, {}, "x", "title")
    assert "_a" in {text.strip() for text in texts_of(svg)}


def test_settings_of_the_caller_neither_matter_nor_change(tmp_path):
    own = {"text.usetex": True, "text.parse_math": True, "svg.fonttype": "path"}
    with matplotlib.rc_context(own):
        [_, svg] = plots.plot_bars(tmp_path / "a.png", {"$5 $6": {"a": (1.0, None, None)}}, "t")
        assert {key: matplotlib.rcParams[key] for key in own} == own
    assert "$5 $6" in texts_of(svg)


def test_a_failed_figure_is_closed():
    before = style.plt.get_fignums()
    with pytest.raises(ZeroDivisionError), style.styled():
        style.plt.figure()
        _ = 1 / 0
    assert style.plt.get_fignums() == before


def test_a_thousand_rows_can_be_drawn(tmp_path):
    bars = {f"row {number}": {"accuracy": (50.0, None, None)} for number in range(1000)}
    [png, svg] = plots.plot_bars(tmp_path / "a.png", bars, "title")
    with Image.open(png) as image:
        assert image.height < 12_000
    words = " ".join(texts_of(svg))
    assert "row 99" in words and "row 100" not in words
    assert "(the first 100 of 1,000 rows)" in words


def test_all_figures_use_the_common_style():
    """Only `style` imports pyplot, because figures without it would read names as markup."""
    found = []
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [path.name for name in names if name.startswith("matplotlib.pyplot")]
    assert found == ["style.py"]
