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

SHOTS, WHOLE, UNLABELED = "#5b8fd6", "#27497d", "#b9cfe8"
TESTED, UNUSED, INK = "#e8a33d", "#f2f2f2", "#222222"
HEIGHT = 0.56
COLUMNS = {"trains on": 2.95, "is tested on": 5.6, "chooses among": 9.85}
SIZE = (13.2, 10.2)
LIMITS = (0, 13.4)


class Box(NamedTuple):
    """A box of examples: a text, its color, left edge and width, and whether it is predicted."""

    text: str
    color: str
    left: float = 0
    width: float = 2
    predicted: bool = False


class Protocol(NamedTuple):
    """A row of the picture: a protocol by its name in configs."""

    name: str
    train: tuple[Box, ...]
    test: tuple[Box, ...]
    among: str


class Seen(NamedTuple):
    """A row of the lower part: what a prediction of some methods sees."""

    name: str
    boxes: tuple[Box, ...]
    words: str
    ordered: bool = False


def _tests(*names: str) -> tuple[Box, ...]:
    return tuple(Box(name, TESTED, 1.03 * place, 0.98) for place, name in enumerate(names))


ALL_CLASSES = (Box("all classes", TESTED),)
TARGETS = (*_tests("source", "target", "target"), Box("…", TESTED, 3.09, 0.5))
DOMAINS = (*_tests("photos", "sketches", "art"), Box("…", TESTED, 3.09, 0.5))

PROTOCOLS = (
    Protocol(
        "base_to_novel",
        (Box("base", SHOTS, 0, 1), Box("new", UNUSED, 1, 1)),
        (Box("base", TESTED, 0, 0.98), Box("new", TESTED, 1.03, 0.98)),
        "the classes of the same half",
    ),
    Protocol("few_shot", (Box("all classes", SHOTS),), ALL_CLASSES, "all classes"),
    Protocol("cross_dataset", (Box("source", SHOTS),), TARGETS, "the classes of each data set"),
    Protocol(
        "domain_generalization", (Box("photos", SHOTS),), DOMAINS, "the classes of each domain"
    ),
    Protocol("unlabeled", (Box("all images", UNLABELED),), ALL_CLASSES, "all classes"),
    Protocol("supervised", (Box("all classes", WHOLE),), ALL_CLASSES, "all classes"),
    Protocol(
        "zero_shot_transfer", (Box("source", WHOLE),), TARGETS, "the classes of each data set"
    ),
    Protocol(
        "retrieval",
        (Box("videos, captions", WHOLE),),
        (Box("videos, captions", TESTED),),
        "all test videos, or all test captions",
    ),
)

SEEN = (
    Seen("one image", (Box("", TESTED, 0, 0.4, True),), "the image alone"),
    Seen(
        "a batch",
        tuple(Box("", TESTED, 0.5 * place, 0.4, place == 2) for place in range(6)),
        "all images of the batch, without labels",
    ),
    Seen(
        "a stream",
        tuple(Box(str(place + 1), TESTED, 0.8 * place, 0.4, place == 2) for place in range(3)),
        "the image and those before it, without labels: order matters",
        True,
    ),
    Seen(
        "…, texts of new classes",
        (Box("", TESTED, 0, 0.4, True), Box("texts", "white", 0.6, 1)),
        "also texts about classes that were not trained on",
    ),
)


def draw(path: Path = PICTURE) -> None:
    """Draws protocols, then what predictions see, and the legend."""
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set_xlim(*LIMITS)
    axes.set_ylim(-len(PROTOCOLS) - len(SEEN) - 2.3, 0.7)
    axes.axis("off")
    for title, left in ({"protocol": 0} | COLUMNS).items():
        axes.text(left, 0.35, title, weight="bold", size=12, color=INK)
    train, test, among = COLUMNS.values()
    for number, row in enumerate(PROTOCOLS):
        middle = -number - 0.35
        _draw_row(axes, row.name, row.train, train, middle)
        for box in row.test:
            _draw_box(axes, box, test, middle)
        axes.text(among, middle, row.among, va="center", size=10.5, color=INK)
    start = -len(PROTOCOLS) - 0.95
    title = "Depends on the method, not on the protocol: what a prediction sees"
    axes.text(0, start + 0.35, title, weight="bold", size=12, color=INK)
    for number, seen in enumerate(SEEN):
        middle = start - number - 0.35
        _draw_row(axes, seen.name, seen.boxes, train, middle, family="sans-serif")
        if seen.ordered:
            _draw_arrows(axes, seen.boxes, train, middle)
        axes.text(test + 0.9, middle, seen.words, va="center", size=10.5, color=INK)
    kinds = (
        Patch(facecolor=SHOTS, label="shots: a few examples per class, with labels"),
        Patch(facecolor=WHOLE, label="all training examples, with labels or captions"),
        Patch(facecolor=UNLABELED, hatch="///", label="all training images, without labels"),
        Patch(facecolor=UNUSED, edgecolor="#bbbbbb", label="not used"),
        Patch(facecolor=TESTED, label="test examples"),
        Patch(facecolor=TESTED, edgecolor=INK, linewidth=2, label="the predicted image"),
    )
    axes.legend(handles=kinds, loc="lower center", ncols=3, frameon=False, fontsize=10)
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")


def _draw_row(
    axes: Axes,
    name: str,
    boxes: tuple[Box, ...],
    left: float,
    middle: float,
    family: str = "monospace",
) -> None:
    axes.text(0, middle, name, va="center", size=11, weight="bold", color=INK, family=family)
    for box in boxes:
        _draw_box(axes, box, left, middle)
    axes.axhline(middle - 0.5, color="#dddddd", linewidth=0.8)


def _draw_box(axes: Axes, box: Box, left: float, middle: float) -> None:
    edge = "#bbbbbb" if box.color in (UNUSED, "white") else "white"
    hatched = box.color == UNLABELED
    rectangle = Rectangle(
        (left + box.left, middle - HEIGHT / 2),
        box.width,
        HEIGHT,
        facecolor=box.color,
        edgecolor=INK if box.predicted else edge,
        linewidth=2 if box.predicted else 1,
        hatch="///" if hatched else "",
    )
    axes.add_patch(rectangle)
    color = "white" if box.color in (SHOTS, WHOLE) else INK
    at = left + box.left + box.width / 2, middle
    back = {"facecolor": box.color, "edgecolor": "none", "pad": 1.5} if hatched else None
    axes.text(*at, box.text, ha="center", va="center", size=10, color=color, bbox=back)


def _draw_arrows(axes: Axes, boxes: tuple[Box, ...], left: float, middle: float) -> None:
    for one, following in itertools.pairwise(boxes):
        start, end = left + one.left + one.width, left + following.left
        arrow = FancyArrowPatch(
            (start, middle), (end, middle), arrowstyle="-|>", mutation_scale=10, color=INK
        )
        axes.add_patch(arrow)


if __name__ == "__main__":
    draw()
