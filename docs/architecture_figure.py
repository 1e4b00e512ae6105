"""Draws the architecture of ProMPT for README.md.

    python docs/architecture_figure.py

Writes architecture.png beside this file.
"""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

PICTURE = Path(__file__).with_name("architecture.png")

FROZEN, TRAINED, DATA, INK = "#cfe0f5", "#f6cf94", "#f2f2f2", "#222222"
SIZE, DOTS = (8.4, 4.4), 200  # GitHub shows 840 pixels: 100 for an inch


class Box(NamedTuple):
    """A box: its texts, color, left and lower edge, width and height."""

    title: str
    text: str
    color: str
    left: float
    low: float
    width: float
    height: float


BOXES = (
    Box("class names", "“kiwi”, “lion”, …", DATA, 0, 34, 15, 7),
    Box("text tower", "context once per image, a name’s tokens per class", FROZEN, 22, 34, 37, 7),
    Box("G$^T$", "adds to the text context", TRAINED, 29, 23.5, 23, 6),
    Box("image", "", DATA, 0, 13, 15, 7),
    Box("image tower", "vision prompts in $J$ layers", FROZEN, 22, 13, 37, 7),
    Box("G$^V$", "adds to the vision prompts", TRAINED, 29, 2.5, 23, 6),
    Box("p$^n$", "softmax of cosines", DATA, 66, 22, 17, 9),
)
# The points of every arrow, and its text with its place.
ARROWS: tuple[tuple[tuple[tuple[float, float], ...], str, tuple[float, float]], ...] = (
    (((15, 37.5), (22, 37.5)), "", (0, 0)),
    (((15, 16.5), (22, 16.5)), "", (0, 0)),
    (((40.5, 29.5), (40.5, 34)), "", (0, 0)),
    (((40.5, 20), (40.5, 23.5)), "", (0, 0)),
    (((40.5, 8.5), (40.5, 13)), "", (0, 0)),
    (((59, 37.5), (74.5, 37.5), (74.5, 31)), "text features", (60, 38.3)),
    (((59, 16.5), (70, 16.5), (70, 22)), "image feature", (60, 17.3)),
    (((79, 22), (79, 5.5), (52, 5.5)), "text features of the $a$ likeliest classes", (53, 6.3)),
)


def draw(path: Path = PICTURE) -> None:
    """Draws boxes, arrows and the legend."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.5, 83.5)
    axes.set_ylim(-2, 42)
    axes.axis("off")
    for box in BOXES:
        _draw_box(axes, box)
    for points, text, place in ARROWS:
        axes.plot(*zip(*points[:-1], strict=True), color=INK, linewidth=1.3, solid_capstyle="butt")
        arrow = FancyArrowPatch(
            *points[-2:], arrowstyle="-|>", mutation_scale=12, color=INK, shrinkA=0, shrinkB=0
        )
        axes.add_patch(arrow)
        axes.text(*place, text, size=9, color=INK)
    note = "p$^0$: frozen CLIP\np$^1$ … p$^N$: $N$ rounds of\nboth generators"
    axes.text(0, 23, note, size=9, color=INK, linespacing=1.4)
    kinds = (
        Patch(facecolor=FROZEN, edgecolor="#8fa9c9", label="frozen CLIP"),
        Patch(
            facecolor=TRAINED,
            edgecolor="#c99a50",
            label="trained, with the first prompts and context",
        ),
    )
    axes.legend(handles=kinds, loc="lower left", frameon=False, fontsize=9.5, borderpad=0.1)
    figure.savefig(path, dpi=DOTS, facecolor="white", metadata={"Software": None})


def _draw_box(axes: Axes, box: Box) -> None:
    edge = {FROZEN: "#8fa9c9", TRAINED: "#c99a50"}.get(box.color, "#bbbbbb")
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.low),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.8",
            facecolor=box.color,
            edgecolor=edge,
            linewidth=1.2,
        )
    )
    middle = box.left + box.width / 2, box.low + box.height / 2
    shift = 1.4 if box.text else 0
    axes.text(middle[0], middle[1] + shift, box.title, size=11, weight="bold", color=INK,
              ha="center", va="center")  # fmt: skip
    axes.text(middle[0], middle[1] - shift, box.text, size=9, color=INK, ha="center", va="center")


if __name__ == "__main__":
    draw()
