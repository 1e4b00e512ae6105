"""Draws the protocols of docs/protocols.md.

    python docs/protocols_figure.py

Writes protocols.png beside this file.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

PICTURE = Path(__file__).with_name("protocols.png")

LABELED, UNLABELED, TESTED, UNUSED = "#3b6fb6", "#b9cfe8", "#e8a33d", "#f2f2f2"
INK = "#222222"
WIDTH, HEIGHT = 1.0, 0.56
COLUMNS = {"trains on": 2.35, "is tested on": 5.55, "a prediction sees": 9.1}


class Data(NamedTuple):
    """A box of images: a text, its color, left edge and width in units of `WIDTH`."""

    text: str
    color: str
    left: float
    width: float = 1.0
    hatch: str = ""


class Protocol(NamedTuple):
    """A row of the picture."""

    name: str
    train: tuple[Data, ...]
    test: tuple[Data, ...]
    sees: str


ROWS = (
    Protocol(
        "base-to-novel",
        (Data("base", LABELED, 0), Data("new", UNUSED, 1)),
        (Data("base", TESTED, 0), Data("new", TESTED, 1)),
        "one image, names of its half;\nH is over both halves",
    ),
    Protocol(
        "few-shot",
        (Data("all classes", LABELED, 0, 2),),
        (Data("all classes", TESTED, 0, 2),),
        "one image, names of all classes",
    ),
    Protocol(
        "cross-dataset",
        (Data("source", LABELED, 0, 2),),
        (Data("target", TESTED, 0), Data("target", TESTED, 1.1), Data("…", TESTED, 2.2, 0.5)),
        "one image, names of the\ntarget's classes",
    ),
    Protocol(
        "domain\ngeneralization",
        (Data("photos", LABELED, 0, 2),),
        (Data("sketches", TESTED, 0), Data("art", TESTED, 1.1), Data("…", TESTED, 2.2, 0.5)),
        "one image, names of the\nsame classes",
    ),
    Protocol(
        "label-free",
        (Data("all, without labels", UNLABELED, 0, 2, "///"),),
        (Data("all classes", TESTED, 0, 2),),
        "one image, names of all classes",
    ),
    Protocol(
        "transductive",
        (Data("any of the above", UNUSED, 0, 2),),
        tuple(Data("", TESTED, 0.36 * n, 0.3) for n in range(6)),
        "all test images of the batch,\nwithout labels",
    ),
    Protocol(
        "test-time",
        (Data("any of the above", UNUSED, 0, 2),),
        tuple(Data(text, TESTED, 0.55 * n, 0.3) for n, text in enumerate("123")),
        "one image and those before it,\nwithout labels: order matters",
    ),
)


def draw(path: Path = PICTURE) -> None:
    """Draws all rows and the legend."""
    figure = Figure(figsize=(11.9, 6.8))
    axes = figure.subplots()
    axes.set_xlim(0, 12.3)
    axes.set_ylim(-len(ROWS) - 0.6, 0.75)
    axes.axis("off")
    for title, left in COLUMNS.items():
        axes.text(left, 0.35, title, weight="bold", size=12, color=INK)
    train, test, sees = COLUMNS.values()
    for number, row in enumerate(ROWS):
        middle = -number - 0.35
        axes.text(0, middle, row.name, va="center", size=11.5, weight="bold", color=INK)
        for one in row.train:
            _draw_box(axes, one, train, middle)
        for one in row.test:
            _draw_box(axes, one, test, middle)
        if row.name == "test-time":
            _draw_arrows(axes, row.test, test, middle)
        axes.text(sees, middle, row.sees, va="center", size=10.5, color=INK)
        axes.axhline(middle - 0.5, color="#dddddd", linewidth=0.8)
    kinds = (
        Patch(facecolor=LABELED, label="shots: images with labels"),
        Patch(facecolor=UNLABELED, hatch="///", label="images without labels"),
        Patch(facecolor=TESTED, label="test images"),
        Patch(facecolor=UNUSED, edgecolor="#bbbbbb", label="not used, or any"),
    )
    axes.legend(handles=kinds, loc="lower center", ncols=4, frameon=False, fontsize=10)
    figure.savefig(path, dpi=120, bbox_inches="tight", facecolor="white")


def _draw_box(axes: Axes, one: Data, left: float, middle: float) -> None:
    corner = left + WIDTH * one.left, middle - HEIGHT / 2
    edge = "#bbbbbb" if one.color == UNUSED else "white"
    box = Rectangle(
        corner, WIDTH * one.width, HEIGHT, facecolor=one.color, edgecolor=edge, hatch=one.hatch
    )
    axes.add_patch(box)
    color = "white" if one.color == LABELED else INK
    at = corner[0] + WIDTH * one.width / 2, middle
    back = {"facecolor": one.color, "edgecolor": "none", "pad": 1.5} if one.hatch else None
    axes.text(*at, one.text, ha="center", va="center", size=10, color=color, bbox=back)


def _draw_arrows(axes: Axes, boxes: tuple[Data, ...], left: float, middle: float) -> None:
    for one, following in itertools.pairwise(boxes):
        start, end = left + WIDTH * (one.left + one.width), left + WIDTH * following.left
        arrow = FancyArrowPatch(
            (start, middle), (end, middle), arrowstyle="-|>", mutation_scale=10, color=INK
        )
        axes.add_patch(arrow)


if __name__ == "__main__":
    draw()
